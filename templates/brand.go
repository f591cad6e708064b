package templates

import (
	"fmt"
	"math"
	"strconv"
)

// colour is sRGB, each part 0..255.
type colour struct{ r, g, b float64 }

// parseColour takes #rrggbb and nothing else, so that nothing else can reach the stylesheet.
func parseColour(s string) (colour, error) {
	if len(s) != 7 || s[0] != '#' {
		return colour{}, fmt.Errorf("accent %q: want #rrggbb", s)
	}
	n, err := strconv.ParseUint(s[1:], 16, 32)
	if err != nil {
		return colour{}, fmt.Errorf("accent %q: want #rrggbb", s)
	}
	return colour{float64(n >> 16), float64(n >> 8 & 255), float64(n & 255)}, nil
}

func (c colour) String() string {
	part := func(v float64) int { return int(math.Round(v)) }
	return fmt.Sprintf("#%02x%02x%02x", part(c.r), part(c.g), part(c.b))
}

// luminance is WCAG 2.2's relative luminance.
func (c colour) luminance() float64 {
	linear := func(v float64) float64 {
		v /= 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
}

// contrast is WCAG 2.2's contrast ratio, 1..21.
func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// towards mixes part (0..1) of other into c.
func (c colour) towards(other colour, part float64) colour {
	mix := func(a, b float64) float64 { return a + (b-a)*part }
	return colour{mix(c.r, other.r), mix(c.g, other.g), mix(c.b, other.b)}
}

var (
	white = colour{255, 255, 255}
	ink   = colour{20, 20, 18}
	// The surfaces of static/style.css an accent has to stand out from: the darkest light one, the lightest dark one.
	// A test compares them with the file.
	lightGround = colour{0xf0, 0xec, 0xe3}
	darkGround  = colour{0x25, 0x2b, 0x2b}
)

// readable moves c away from the ground until text in it can be read there: 4.5:1 (WCAG 2.2, 1.4.3), with a little to spare.
func readable(c, ground colour) colour {
	end := white
	if ground.luminance() > 0.18 {
		end = colour{}
	}
	for part := 0.0; part <= 1; part += 0.02 {
		if m := c.towards(end, part); contrast(m, ground) >= 4.6 {
			return m
		}
	}
	return end
}

// onto is the better of white and ink for text on c. One of the two always reaches 4.5:1.
func onto(c colour) colour {
	if contrast(white, c) >= contrast(ink, c) {
		return white
	}
	return ink
}

// brandCSS puts the operator's accent in place of ours, with a shade for each theme.
func brandCSS(accent string) ([]byte, error) {
	c, err := parseColour(accent)
	if err != nil {
		return nil, err
	}
	tokens := func(ground colour) string {
		main := readable(c, ground)
		text := onto(main)
		// Hovering moves away from the text, so it only gains contrast.
		away := colour{}
		if text != white {
			away = white
		}
		return fmt.Sprintf("--accent: %s; --accent-strong: %s; --on-accent: %s; --focus: %s;", main, main.towards(away, 0.15), text, main)
	}
	light, dark := tokens(lightGround), tokens(darkGround)
	return fmt.Appendf(nil, ":root { %s }\n@media (prefers-color-scheme: dark) { :root:not([data-theme=\"light\"]) { %s } }\n:root[data-theme=\"dark\"] { %s }\n", light, dark, dark), nil
}
