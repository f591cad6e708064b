package config

import (
	"reflect"
	"strings"
)

// reloadable are the keys that a reload (SIGHUP) applies to a running server; every other change waits for a restart.
var reloadable = []string{"http.tls", "privileges", "user_types", "permissions", "delegations", "actions", "clients", "log.level"}

// Diff names the keys whose values differ, as paths in the order of the reference; privileges and clients count as one each.
// applied are those a reload applies to a running server, restart those that wait.
func Diff(old, next *Config) (applied, restart []string) {
	var walk func(path string, a, b reflect.Value)
	walk = func(path string, a, b reflect.Value) {
		if isBlock(a.Type()) {
			keys, fields := keysOf(a.Type())
			for _, k := range keys {
				walk(join(path, k), a.Field(fields[k]), b.Field(fields[k]))
			}
			return
		}
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			return
		}
		for _, r := range reloadable {
			if path == r || strings.HasPrefix(path, r+".") {
				applied = append(applied, path)
				return
			}
		}
		restart = append(restart, path)
	}
	walk("", reflect.ValueOf(old).Elem(), reflect.ValueOf(next).Elem())
	return applied, restart
}
