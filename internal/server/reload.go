package server

import (
	"context"
	"errors"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/config"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/store"
)

// Reload reads the configuration again and applies it: all of it or, when anything is wrong, nothing. Every problem is logged. What
// can be applied to a running server (config.Diff names it) is applied:
//
//	log.level    at once
//	http.tls     the certificate files are read again, also when their names stay
//	privileges   new ones are created, includes are set
//	user_types   set; one that people have cannot go
//	permissions, delegations   set
//	actions      required from the next request on
//	clients      created, changed; disabled when they left the file
//
// The rest waits for a restart, which the log says key by key.
func (s *Server) Reload(ctx context.Context) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		result := "ok"
		if err != nil {
			result = "refused"
		}
		s.metrics.reloads.WithLabelValues(result).Inc()
	}()
	if s.opts.Load == nil {
		return errors.New("server: started without a configuration to read again")
	}
	next, err := s.opts.Load()
	if err != nil {
		s.logProblems(ctx, err)
		return err
	}
	changed, waiting := config.Diff(s.cfg, next)
	// What can fail comes first; what cannot, last.
	certs := s.certs
	if t := next.HTTP.TLS; certs != nil && t.CertFile != "" {
		certs = &certificates{certFile: t.CertFile, keyFile: t.KeyFile}
		if err := configError(next, "http.tls", certs.Load()); err != nil {
			s.logProblems(ctx, err)
			return err
		}
	}
	rules, err := guardRules(merged(s.cfg, next))
	if err == nil {
		err = apply(ctx, s.store, s.master, next)
	}
	if err != nil {
		s.logProblems(ctx, err)
		return err
	}
	s.setRules(rules)
	if certs != s.certs {
		s.certs.pair.Store(certs.pair.Load())
	}
	s.level.Set(level(next))

	if tls := s.certs != nil; tls != (next.HTTP.TLS.CertFile != "") {
		waiting = append(waiting, "http.tls") // a listener does not begin or end to speak TLS
	}
	s.cfg = merged(s.cfg, next)
	s.log.InfoContext(ctx, "configuration reloaded", "applied", changed)
	if len(waiting) > 0 {
		s.log.WarnContext(ctx, "some changes need a restart; until then the old values stand", "keys", waiting)
	}
	return nil
}

// logProblems writes one line for each.
func (s *Server) logProblems(ctx context.Context, err error) {
	var bad *config.Error
	if errors.As(err, &bad) {
		for _, p := range bad.Problems {
			s.log.ErrorContext(ctx, "configuration not reloaded, the old one stands", "file", bad.File, "problem", p.String())
		}
		return
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		s.log.ErrorContext(ctx, "configuration not reloaded, the old one stands", "problem", line)
	}
}

// apply brings the database in line with the file in one transaction. Two processes may do the same at once: one of them loses a
// conditional statement, and at its second look everything is as it should be.
func apply(ctx context.Context, st *store.Store, master provider.MasterKeys, c *config.Config) error {
	for try := 0; ; try++ {
		err := st.Tx(ctx, func(ctx context.Context) error {
			if err := syncPrivileges(ctx, st, c.Privileges); err != nil {
				return err
			}
			if err := syncRights(ctx, st, c); err != nil {
				return err
			}
			if err := syncClients(ctx, st, master, fileClients(c)); err != nil {
				return err
			}
			// Definitions that are missing or cannot be read stop the start, whoever made them so (R89).
			if _, err := st.Model(ctx); err != nil {
				return unreadable(err)
			}
			return nil
		})
		if !errors.Is(err, store.ErrConflict) || try == 3 {
			if bad := (*config.Error)(nil); errors.As(err, &bad) {
				bad.File = c.File()
			}
			return err
		}
	}
}

// configError says that err is the fault of a key of the file, so that the process ends as for any other mistake in it.
func configError(c *config.Config, path string, err error) error {
	if err == nil {
		return nil
	}
	return &config.Error{File: c.File(), Problems: []config.Problem{{Path: path, Text: err.Error()}}}
}

// merged is what is in force after a reload: old, with the reloadable keys of next. So the next reload still reports what waits.
func merged(old, next *config.Config) *config.Config {
	c := *old
	c.Log.Level, c.HTTP.TLS, c.Privileges, c.Clients = next.Log.Level, next.HTTP.TLS, next.Privileges, next.Clients
	c.UserTypes, c.Permissions, c.Delegations, c.Actions = next.UserTypes, next.Permissions, next.Delegations, next.Actions
	return &c
}
