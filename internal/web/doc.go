// Package web is what stands between net/http and the handlers of the other packages.
//
// It owns routing (two kinds of route, no third), the one translation of errors for people, the headers every response carries,
// form tokens, body limits, the access line, the address of the client behind proxies, and the one HTTP client for URLs that
// others supply. It refuses requests for foreign hosts, odd paths, cross-site forms, forms without our token and oversized
// bodies before a handler sees them. It knows neither sessions nor users: those come in through Config.
//
//	request ─▶ id, client, Host, path ─▶ ServeMux ─┬─ Page: cross-origin ─▶ session ─▶ rule ─▶ body, form, token ─▶ handler
//	                                               └─ API:  no cookies, CORS ─▶ body, form ─▶ handler
//	          ◀─ error page or JSON, access line ◀─┘
package web
