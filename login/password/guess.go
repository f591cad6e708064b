package password

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/ccojocar/zxcvbn-go/data"
	"golang.org/x/text/unicode/norm"
)

// guesser estimates how many tries a password withstands, by the cheapest way to put it together from common words, names, years,
// rows of keys, sequences and repeats. The lists are those of zxcvbn-go, 85,000 words in order of frequency; only its data is used,
// since the rest of that package unpacks them at every start of the program.
type guesser struct {
	once  sync.Once
	words []string // sorted
	ranks []uint32 // of words, from 1
	rows  []string // of keys and letters, both ways
}

// longestWord that is looked up, in runes.
const longestWord = 24

func (g *guesser) load() {
	best := map[string]uint32{}
	for _, name := range []string{"Passwords", "English", "FemaleNames", "MaleNames", "Surnames"} {
		var list struct{ List []string }
		// The asset is compiled in; a test sees to it that every list is there and large.
		if b, err := data.Asset("data/" + name + ".json"); err != nil || json.Unmarshal(b, &list) != nil {
			continue
		}
		for i, w := range list.List {
			rank := uint32(i + 1)
			if old, ok := best[w]; len(w) >= 3 && (!ok || rank < old) {
				best[w] = rank
			}
		}
	}
	g.words = make([]string, 0, len(best))
	var all strings.Builder // one block for all, instead of what json allocated
	for w := range best {
		g.words = append(g.words, w)
	}
	slices.Sort(g.words)
	for _, w := range g.words {
		all.WriteString(w)
	}
	g.ranks = make([]uint32, len(g.words))
	for i, at, block := 0, 0, all.String(); i < len(g.words); i++ {
		g.ranks[i] = best[g.words[i]]
		n := len(g.words[i])
		g.words[i], at = block[at:at+n], at+n
	}
	for _, row := range []string{"abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm",
		"azertyuiop", "qsdfghjklm", "wxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "147258369", "789456123", "!@#$%^&*()", "qazwsxedcrfvtgbyhnujmikolp"} {
		b := []byte(row)
		slices.Reverse(b)
		g.rows = append(g.rows, row, string(b))
	}
}

// bits is the base-2 logarithm of the tries needed; own are words the attacker tries first.
func (g *guesser) bits(pw string, own []string) float64 {
	g.once.Do(g.load)
	typed := []rune(norm.NFKC.String(pw))
	if len(typed) > 128 { // long enough to judge by; the search below is quadratic in places
		typed = typed[:128]
	}
	plain := make([]rune, len(typed)) // lower case
	leet := make([]rune, len(typed))  // and with digits and signs read as the letters they stand for
	for i, r := range typed {
		plain[i] = unicode.ToLower(r)
		leet[i] = plain[i]
		if l, ok := leetLetter(plain[i]); ok {
			leet[i] = l
		}
	}
	// best[i][k] is the cheapest way to make the first i runes from k pieces; the attacker tries few pieces before many.
	const most = 12
	best := make([][most + 1]float64, len(typed)+1)
	for i := range best {
		for k := range best[i] {
			best[i][k] = math.Inf(1)
		}
	}
	best[0][0] = 0
	step := func(from, to int, cost float64) {
		for k := range most {
			if c := best[from][k] + cost; c < best[to][k+1] {
				best[to][k+1] = c
			}
		}
	}
	for i := range typed {
		for n := 1; i+n <= len(typed); n++ { // a stretch nobody can put in words: 10 tries a character
			step(i, i+n, float64(n)*math.Log2(10))
		}
		for n := 3; n <= longestWord && i+n <= len(typed); n++ {
			if c, ok := g.word(typed[i:i+n], plain[i:i+n], leet[i:i+n], own); ok {
				step(i, i+n, c)
			}
		}
		if n, c := run(plain[i:]); n >= 3 {
			for ; n >= 3; n-- {
				step(i, i+n, c)
			}
		}
		for n := 3; i+n <= len(typed); n++ {
			if !g.inRow(plain[i : i+n]) {
				break
			}
			step(i, i+n, 5+math.Log2(float64(n)))
		}
		if i+4 <= len(plain) && isYear(plain[i:i+4]) {
			step(i, i+4, 7)
		}
		for n := 4; n <= 16; n++ { // what stood before, once more
			for from := 0; from+n <= i && i+n <= len(plain); from++ {
				if slices.Equal(plain[from:from+n], plain[i:i+n]) {
					step(i, i+n, 4)
					break
				}
			}
		}
	}
	least := math.Inf(1)
	for k := 1; k <= most; k++ {
		lg, _ := math.Lgamma(float64(k + 1))
		if c := best[len(typed)][k] + lg/math.Ln2; c < least { // k! orders
			least = c
		}
	}
	return least
}

// word is the cost of a word, its capitals and its letters written as digits.
func (g *guesser) word(typed, plain, leet []rune, own []string) (float64, bool) {
	rank, replaced := g.rank(string(plain), own), 0
	if rank == 0 {
		if rank = g.rank(string(leet), own); rank == 0 {
			return 0, false
		}
		replaced = 1
	}
	cost := math.Log2(float64(rank)) + 1
	for i := range typed {
		if typed[i] != plain[i] {
			cost++ // a capital somewhere; which ones adds little, people have few habits
			break
		}
	}
	return cost + 2*float64(replaced), true
}

func (g *guesser) rank(w string, own []string) uint32 {
	if slices.Contains(own, w) {
		return 1
	}
	if i, ok := slices.BinarySearch(g.words, w); ok {
		return g.ranks[i]
	}
	return 0
}

// run is how far the first rune is repeated.
func run(s []rune) (n int, cost float64) {
	for n < len(s) && s[n] == s[0] {
		n++
	}
	return n, math.Log2(10) + math.Log2(float64(max(n, 1)))
}

func (g *guesser) inRow(s []rune) bool {
	w := string(s)
	for _, row := range g.rows {
		if strings.Contains(row, w) {
			return true
		}
	}
	return false
}

func isYear(s []rune) bool {
	y := string(s)
	return y >= "1900" && y <= "2099" && !strings.ContainsFunc(y, func(r rune) bool { return r < '0' || r > '9' })
}

func leetLetter(r rune) (rune, bool) {
	switch r {
	case '0':
		return 'o', true
	case '1', '!':
		return 'i', true
	case '3':
		return 'e', true
	case '4', '@':
		return 'a', true
	case '5', '$':
		return 's', true
	case '7':
		return 't', true
	case '8':
		return 'b', true
	case '9':
		return 'g', true
	}
	return 0, false
}

func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
