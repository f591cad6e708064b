package login

import "strings"

// browsers in the order in which their marks must be looked for: most of them also claim to be an older one.
var browsers = []struct{ mark, name string }{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
	{"OPR/", "Opera"}, {"OPiOS/", "Opera"}, {"Vivaldi/", "Vivaldi"}, {"SamsungBrowser/", "Samsung Internet"},
	{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
	{"CriOS/", "Chrome"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"}, {"Chromium/", "Chromium"},
}

var systems = []struct{ mark, name string }{
	{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
	{"Windows", "Windows"}, {"Macintosh", "macOS"}, {"Linux", "Linux"},
}

// device reads browser and system from a User-Agent, "" for what it cannot tell. It names no versions: browsers freeze and
// invent them, and a person recognises "Firefox on Linux" better than a number.
func device(userAgent string) (browser, system string) {
	for _, b := range browsers {
		if strings.Contains(userAgent, b.mark) {
			browser = b.name
			break
		}
	}
	// Safari is what claims to be Safari with a version of its own; everything built on WebKit or Blink claims the name alone.
	if browser == "" && strings.Contains(userAgent, "Safari/") && strings.Contains(userAgent, "Version/") &&
		!strings.Contains(userAgent, "Android") {
		browser = "Safari"
	}
	for _, s := range systems {
		if strings.Contains(userAgent, s.mark) {
			system = s.name
			break
		}
	}
	return browser, system
}
