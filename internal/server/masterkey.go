package server

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/provider"
)

// masterKeys are the configured ones. In development on SQLite, where none is configured, one lies beside the database and is made
// at the first start; config.Load refuses every other configuration without keys.
func masterKeys(c *config.Config) (provider.MasterKeys, error) {
	if keys := c.MasterKeys(); len(keys) > 0 {
		return provider.NewMasterKeys(keys...)
	}
	db, ok := c.Database.URL.SQLite()
	if !ok || c.Environment != config.Development {
		return provider.MasterKeys{}, errors.New("secrets.master_keys is empty")
	}
	path := filepath.Join(filepath.Dir(db), "latchkey.key")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		// A new key beside old data would be a puzzle later: every sealed value in there needs the old one.
		if fi, err := os.Stat(db); err == nil && fi.Size() > 0 {
			return provider.MasterKeys{}, fmt.Errorf("%s is missing, and the database beside it was sealed with it; put it back, or configure secrets.master_keys", path)
		}
	}
	text, err := secretFile(path, func() string {
		var b [32]byte
		rand.Read(b[:]) // never fails (crypto/rand)
		return base64.StdEncoding.EncodeToString(b[:])
	})
	if err != nil {
		return provider.MasterKeys{}, fmt.Errorf("the master key of this development database: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != 32 {
		return provider.MasterKeys{}, fmt.Errorf("%s does not hold 32 bytes in base64", path)
	}
	return provider.NewMasterKeys(key)
}

// secretFile returns the one line of a file, making it with mode 0600 when it is not there. The file appears with its content or not
// at all, and of two processes that make it at once both end with the same.
func secretFile(path string, generate func() string) (string, error) {
	for range 2 {
		b, err := os.ReadFile(path)
		if err == nil {
			if v := strings.TrimSpace(string(b)); v != "" {
				return v, nil
			}
			return "", fmt.Errorf("%s is empty; remove it to have a new one made", path)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if err := placeFile(path, generate()+"\n"); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s appears and disappears", path)
}

func placeFile(path, text string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike a rename, it never replaces
}
