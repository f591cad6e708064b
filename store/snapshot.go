package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
)

// The definitions are read at once, tens of thousands of rows of them, whenever nothing is in memory and in each transaction that decides who may do
// what. So the graph that they make is kept beside them, as bytes that are taken only if they are of now:
//
//	privileges, privilege_includes ──triggers──▶ definitions.generation
//	                                                    ║ equal?
//	                              definition_snapshot.generation, body ──▶ graph
//
// Why a body that is not of now is never taken: triggers raise the generation in the transaction that changes a definition, whoever changes it, and
// its row is locked from then on, so no two committed states of the definitions have the same one. A body is made of definitions that were
// read in one statement with their generation, outside of any transaction, so of a committed state. When both are equal it is of this state.
// A transaction that changed definitions sees its own new generation, of which nobody can have stored a body before it commits.

const snapshotLive = `SELECT s.body FROM definition_snapshot s JOIN definitions d ON d.generation = s.generation`

// Three texts instead of fifty thousand rows: a row costs more than what is in it, and joining parent and child to one text more than to carry
// both. No name has a space in it. One statement, so that names, includes and generation are of one moment, and one scan for parents and children, so
// that both come in its order.
const definitionsLive = `SELECT (SELECT generation FROM definitions), COALESCE((SELECT STRING_AGG(name, ' ') FROM privileges WHERE deleted_at IS NULL), ''),
  COALESCE(STRING_AGG(parent, ' '), ''), COALESCE(STRING_AGG(child, ' '), '') FROM privilege_includes WHERE ended_at IS NULL`

// A body of a generation that is over by now does no harm: nobody takes it.
const storeSnapshot = `UPDATE definition_snapshot SET generation = ?, body = ? WHERE (SELECT generation FROM definitions) = ?`

// graph is made of the snapshot, or of names and includes alone, read without the rest of ten thousand rows. It never writes: whoever asks may be in a
// hurry, in a transaction or on a database that is read-only.
func (s *Store) graph(ctx context.Context) (*privilege.Graph, error) {
	g, err := s.snapshot(ctx)
	if g != nil || err != nil {
		return g, err
	}
	if s.inTx(ctx) == nil {
		s.wantSnapshot()
	}
	g, _, err = s.readGraph(ctx)
	return g, err
}

// snapshot is the graph of the snapshot, nil when there is none that is of now and whole.
func (s *Store) snapshot(ctx context.Context) (g *privilege.Graph, err error) {
	err = s.read(ctx, snapshotLive, nil, func(r *sql.Rows) error {
		if !r.Next() {
			return r.Err()
		}
		var body sql.RawBytes
		if err := r.Scan(&body); err != nil {
			return err
		}
		g, _ = privilege.FromSnapshot(body) // what is no snapshot, or of another release, is none
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// readGraph reads past the snapshot; of is the generation of what it read.
func (s *Store) readGraph(ctx context.Context) (g *privilege.Graph, of sql.NullInt64, err error) {
	var names, parents, children string
	err = s.read(ctx, definitionsLive, nil, func(r *sql.Rows) error {
		if !r.Next() {
			return r.Err()
		}
		return r.Scan(&of, &names, &parents, &children)
	})
	if err != nil {
		return nil, of, err
	}
	g, err = privilege.ReadGraph(names, parents, children)
	if err != nil {
		return nil, of, fmt.Errorf("store: privileges: %w", err)
	}
	return g, of, nil
}

// wantSnapshot tells Watch that the snapshot may be missing.
func (s *Store) wantSnapshot() {
	select {
	case s.unkept <- struct{}{}:
	default: // it knows
	}
}

// snapshotPause is how long many changes in a row wait for the snapshot of the last of them.
const snapshotPause = 250 * time.Millisecond

func (s *Store) keepSnapshots(ctx context.Context) {
	for {
		select {
		case <-s.unkept:
		case <-ctx.Done():
			return
		}
		if err := s.keepSnapshot(ctx); err != nil && ctx.Err() == nil {
			s.log.InfoContext(ctx, "no snapshot of the definitions was stored: reading them takes longer until the next change", "err", err)
		}
		select {
		case <-time.After(snapshotPause):
		case <-ctx.Done():
			return
		}
	}
}

// keepSnapshot stores a snapshot where there is none that is of now and whole.
func (s *Store) keepSnapshot(ctx context.Context) error {
	if s.inTx(ctx) != nil {
		return fmt.Errorf("store: a snapshot within a transaction would be of what nobody else sees")
	}
	if g, err := s.snapshot(ctx); g != nil || err != nil {
		return err
	}
	g, of, err := s.readGraph(ctx)
	if err != nil || !of.Valid {
		return err
	}
	_, err = s.exec(ctx, storeSnapshot, of, g.Snapshot(), of)
	return err
}
