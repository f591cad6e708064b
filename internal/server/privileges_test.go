package server_test

import (
	"slices"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/internal/server"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// What the file says of a privilege is brought up to date at the next start; its name, and what people hold, stay.
func TestPrivilegesOfTheFileAreKeptUpToDate(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	for _, step := range []config.Privilege{
		{Label: "Moderator", Description: "Tidies up", Includes: []string{"user"}},
		{Label: "Moderation team", Description: "Tidies up and says why", Includes: []string{"trainer", "user"}},
		{Includes: []string{"user"}}, // without texts the last ones stay
	} {
		c.Privileges = map[string]config.Privilege{"moderator": step}
		s := newServer(t, c, server.Options{})
		list, err := s.Store().Privileges(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(p store.Privilege) bool { return p.Name == "moderator" })
		if i < 0 {
			t.Fatal("not there")
		}
		want := step
		if want.Label == "" {
			want.Label, want.Description = "Moderation team", "Tidies up and says why"
		}
		if got := list[i]; got.Label != want.Label || got.Description != want.Description || !slices.Equal(got.Includes, want.Includes) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A secret changed in the file takes the place of the old one, which is dead at once: it may have left because it leaked.
func TestSecretsOfTheFileAreKeptUpToDate(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	for _, secret := range []string{"the first secret of thirty-two characters", "the next secret of thirty-two characters"} {
		c.Clients = []config.Client{{ID: "wiki", Secret: config.NewSecret(secret), Name: "Wiki", RedirectURIs: []string{"https://wiki.example/cb"}}}
		s := newServer(t, c, server.Options{})
		row, err := s.Store().Client(t.Context(), "wiki")
		if err != nil {
			t.Fatal(err)
		}
		if row.SecretHash != provider.HashSecret(secret) || row.PrevSecretHash != "" {
			t.Errorf("the secret in force is not the file's (previous %q)", row.PrevSecretHash)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
