// Package provider is the OAuth 2.0 / OpenID Connect engine: it owns the endpoints under /oauth2, the consent page, the two
// discovery documents, the token formats and the signing keys.
//
// fosite is the protocol engine underneath and is imported here only. It validates requests and runs the grant handlers; everything
// it does not do, or does in a way that does not suit, goes through its exported hooks (docs/divergences.md):
//
//	request → resolve (duplicates, redirect match, PKCE policy) → fosite validates → decide (pure) → issue | log in | consent | refuse
//	token   → our client authentication → fosite's handlers over storage.go → tokens.go mints → claims.go says what is in them
//
// One row per grant is the root of all its tokens: codes are sealed, access tokens are signed (RFC 9068) or sealed, refresh tokens are
// derived from the grant and its generation. Every read of a token asks the live database whether user, client, connector and grant
// still stand (live.go).
//
// What it refuses: to know how people sign in (login does), to speak Go errors to anybody, to redirect anywhere that is not registered.
package provider
