package store

import (
	"context"
	"slices"
	"strings"
	"unicode"
)

// Bounds of what one name is found by.
const (
	maxWords = 12
	maxWord  = 64 // characters
)

// words are what names are found by: lower case, sorted, each once.
func words(names ...string) []string {
	list := strings.FieldsFunc(lower(strings.Join(names, " ")), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && r != '\'' && r != '’'
	})
	for i, w := range list {
		if r := []rune(w); len(r) > maxWord {
			list[i] = string(r[:maxWord])
		}
	}
	slices.Sort(list)
	if list = slices.Compact(list); len(list) > maxWords {
		list = list[:maxWords]
	}
	return list
}

const (
	insertWord    = `INSERT INTO user_words (user_id, word) VALUES (?, ?)`
	deleteWordsOf = `DELETE FROM user_words WHERE user_id = ?`
	wordsOf       = `SELECT user_id, word FROM user_words WHERE user_id IN (?`
	wordsFilled   = `SELECT n FROM counters WHERE name = 'words'`
	noteFilled    = `UPDATE counters SET n = 1 WHERE name = 'words'`
)

type userWord struct {
	UserID string `db:"user_id"`
	Word   string `db:"word"`
}

// putWords stores what people are found by; what is there already stays.
func (s *Store) putWords(ctx context.Context, list []userWord) error {
	for part := range slices.Chunk(list, manyNames) {
		args := make([]any, 0, 2*len(part))
		for _, w := range part {
			args = append(args, w.UserID, w.Word)
		}
		if _, err := s.exec(ctx, insertWord+strings.Repeat(", (?, ?)", len(part)-1)+" ON CONFLICT DO NOTHING", args...); err != nil {
			return err
		}
	}
	return nil
}

func wordsOfUser(u *User) (list []userWord) {
	for _, w := range words(u.GivenName, u.FamilyName) {
		list = append(list, userWord{u.ID, w})
	}
	return list
}

// setWords replaces what a person is found by.
func (s *Store) setWords(ctx context.Context, u *User) error {
	list := wordsOfUser(u)
	query, args := deleteWordsOf, []any{u.ID}
	if len(list) > 0 {
		query += ` AND word NOT IN (?` + strings.Repeat(", ?", len(list)-1) + `)`
		for _, w := range list {
			args = append(args, w.Word)
		}
	}
	if _, err := s.exec(ctx, query, args...); err != nil {
		return err
	}
	return s.putWords(ctx, list)
}

// fillWords makes the words of everybody who was there before there were any: once, after the migration that made their table. Stopped, it begins
// again; several processes do the same work and disturb nobody.
func (s *Store) fillWords(ctx context.Context) error {
	if done, _, err := value[int64](ctx, s, wordsFilled); err != nil || done > 0 {
		return err
	}
	for after, left := "", true; left; {
		err := s.Tx(ctx, func(ctx context.Context) error { // read there too: somebody may be erased meanwhile
			list, err := s.Users(ctx, after, manyNames)
			if err != nil {
				return err
			}
			if left = len(list) > 0; !left {
				_, err := s.exec(ctx, noteFilled)
				return err
			}
			var all []userWord
			for i := range list {
				all = append(all, wordsOfUser(&list[i])...)
			}
			if err := s.putWords(ctx, all); err != nil {
				return err
			}
			s.onCommit(ctx, func() { after = list[len(list)-1].ID })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
