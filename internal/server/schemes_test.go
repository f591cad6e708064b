package server

import "testing"

// TestSec_A4_OneSchemeOneClient: on a device, two applications with one scheme would get each other's codes.
func TestSec_A4_OneSchemeOneClient(t *testing.T) {
	t.Parallel()
	others := map[string][]string{"phone": {"com.example.phone:/callback", "https://phone.example/cb"}, "cli": {"http://127.0.0.1/"}}
	for _, c := range []struct {
		id, uri string
		ok      bool
	}{
		{"thief", "com.example.phone:/other", false},
		{"thief", "COM.EXAMPLE.PHONE:/other", false}, // schemes have no case (RFC 3986 §3.1)
		{"phone", "com.example.phone:/other", true},
		{"new", "com.example.new:/callback", true},
		{"new", "https://phone.example/cb", true},
		{"new", "http://127.0.0.1/", true},
	} {
		if err := sharedScheme(c.id, []string{c.uri}, others); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.id, c.uri, err)
		}
	}
}
