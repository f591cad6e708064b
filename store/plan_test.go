package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryLookupHasAnIndex asks SQLite how it would run each query: a table that is walked from end to end is a service that slows down
// as it grows.
func TestEveryLookupHasAnIndex(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	adminsBy, _ := adminWays([]string{CredPassword, WayEmailCode, WayPhone, WayPasskey, "google"})
	queries := map[string]string{
		"userByID": userByID, "userByEmail": userByEmail, "userByPhone": userByPhone, "userByUsername": userByUsername, "users": users, "live": live,
		"disableUser": disableUser, "touchLogin": touchLogin, "password": password, "rehashPassword": rehashPassword, "setMustChange": setMustChange,
		"oneTime": oneTime, "useOneTime": useOneTime, "assignments": assignments, "endOverdue": endOverdue,
		"endAssignment": endAssignment, "endInclude": endInclude, "clientByID": clientByID, "clients": clients,
		"deleteClient": deleteClient, "deleteClientConsents": deleteClientConsents, "deleteClientFlows": deleteClientFlows,
		"deleteClientPending": deleteClientPending, "revokeClientGrants": revokeClientGrants, "grantByID": grantByID, "liveGrant": liveGrant,
		"rotateGrant": rotateGrant, "extendGrant": extendGrant, "revokeGrant": revokeGrant, "grantsOf": grantsOf, "consent": consent,
		"revokeConsent": revokeConsent, "revokeConsentGrants": revokeConsentGrants, "flowByID": flowByID, "updateFlow": updateFlow,
		"finishFlow": finishFlow, "liveSession": liveSession, "liveSID": liveSID, "touchSession": touchSession, "deleteSession": deleteSession,
		"revokeSessionGrants": revokeSessionGrants, "deleteSessionsOf": deleteSessionsOf, "revokeGrantsOf": revokeGrantsOf,
		"revokeOnlineGrants": revokeOnlineGrants, "sessionsOf": sessionsOf, "partialByID": partialByID, "tryPartial": tryPartial,
		"endPartial": endPartial, "deletePartialsOf": deletePartialsOf, "marked": marked, "pendingByID": pendingByID, "identity": identity,
		"identitiesOf": identitiesOf, "retireKey": retireKey, "resealKey": resealKey, "messageSent": messageSent, "messageFailed": messageFailed,
		"leaseMessages": leaseMessages, "messages": messages, "auditEntries": auditEntries, "auditHeadNow": auditHeadNow, "eventsOf": eventsOf,
		"readChanges": readChanges, "raiseChanges": raiseChanges, "lockCounter": lockCounter, "setupDone": setupDone, "adminCount": adminCount + adminsBy,
		"throttles": throttles, "takeLease": takeLease, "attemptByHash": attemptByHash, "useAttempt": useAttempt, "deleteAttemptsOf": deleteAttemptsOf,
		"identitiesBySubject": identitiesBySubject, "identitiesByEmail": identitiesByEmail, "touchIdentity": touchIdentity,
		"deleteIdentity": deleteIdentity, "quarantineIdentities": quarantineIdentities, "lockUser": lockUser, "dropEmail": dropEmail,
		"deleteCredentialsOf": deleteCredentialsOf, "deleteOneTimeOf": deleteOneTimeOf, "deletePendingOf": deletePendingOf,
		"upstreamSession": upstreamSession, "upstreamsBySID": upstreamsBySID, "upstreamsBySubject": upstreamsBySubject,
		"assignmentsHeld": assignmentsHeld, "reopenAssignment": reopenAssignment,
		"messagesDue": messagesDue, "messageRefused": messageRefused, "expireMessages": expireMessages, "deleteMessagesTo": deleteMessagesTo,
		"mailCode": mailCode, "tryMailCode": tryMailCode, "useMailCode": useMailCode,
		"holdersOf": holdersOf, "endAssignmentsOf": endAssignmentsOf, "endIncludesOf": endIncludesOf, "endIncludedIn": endIncludedIn, "deletePrivilege": deletePrivilege,
		"privilegeNamed": privilegeNamed, "endPower": endPower, "setUserType": setUserType, "endTypeOf": endTypeOf, "usersOfType": usersOfType,
		"typeUntyped": typeUntyped, "nameUntyped": nameUntyped, "eraseUser": eraseUser, "deleteConsentsOf": deleteConsentsOf,
		"deleteIdentitiesOf": deleteIdentitiesOf, "endAssignmentsHeld": endAssignmentsHeld, "closeDeletions": closeDeletions,
		"requestByID": requestByID, "openRequest": openRequest, "endExpired": endExpired, "withdrawRequest": withdrawRequest, "decideRequest": decideRequest,
		"closeRequestsOf": closeRequestsOf, "closeRequestsFor": closeRequestsFor, "eraseRequestsOf": eraseRequestsOf, "openRequests": openRequests,
		"openRequests2": openRequests2, "requestsOf": requestsOf, "setRequestable": setRequestable,
		"authoritiesLive": authoritiesLive, "authorityByID": authorityByID, "authorityByLink": authorityByLink, "takeAuthority": takeAuthority,
		"endAuthority": endAuthority, "authoritiesGiven": authoritiesGiven, "authoritiesTaken": authoritiesTaken,
		"endAuthoritiesGiven": endAuthoritiesGiven, "endAuthoritiesTaken": endAuthoritiesTaken, "endAuthoritiesClient": endAuthoritiesClient,
		"moveUpstream": moveUpstream, "dropMoved": dropMoved, "endActing": endActing, "revokeActed": revokeActed, "revokeActedOf": revokeActedOf,
		"revokeGrantsBy": revokeGrantsBy,
		"useOneTimesOf":  useOneTimesOf, "liveOneTimes": liveOneTimes, "proveEmail": proveEmail,
		"eraseAssignmentsOf": eraseAssignmentsOf, "eraseAuthoritiesBy": eraseAuthoritiesBy, "eraseAuthoritiesTo": eraseAuthoritiesTo,
		"useOf": useOf, "unusedSince": unusedSince, "holdUser": holdUser, "noteSent": noteSent, "deleteWarning": deleteWarning,
		"factorsOf": factorsOf, "factorKindsOf": factorKindsOf, "askingKindsOf": askingKindsOf, "useTOTP": useTOTP, "noteFactor": noteFactor, "renameFactor": renameFactor, "deleteFactor": deleteFactor,
		"deleteCodesOf": deleteCodesOf, "deleteFactorsOf": deleteFactorsOf, "deletePendingFor": deletePendingFor, "useRecoveryCode": useRecoveryCode,
		"takePending": takePending, "passkey": passkey, "passkeysOf": passkeysOf, "usePasskey": usePasskey, "usePasskeyCount": usePasskeyCount,

		"deleteWordsOf": deleteWordsOf, "wordsOf": wordsOf + ")", "wordsFilled": wordsFilled, "kindsOf": kindsOf + ")", "connectorsOf": connectorsOf + ")",
		"drivenAll": drivenAll, "drivenDisabled": drivenDisabled, "drivenNew": drivenNew, "drivenWaiting": drivenWaiting, "drivenPhone": drivenPhone, "drivenType": drivenType, "drivenFactor": drivenFactor,
		"drivenLink": drivenLink, "drivenHolder": drivenHolder, "deletionOf": deletionOf, "deletionsDue": deletionsDue, "deleteDeletion": deleteDeletion, "holdAccount": holdAccount, "countLeaving": countLeaving, "countFailed": countFailed, "countLate": countLate, "countUndeliver": countUndeliver, "countWaiting": countWaiting, "sessionIsOf": sessionIsOf, "auditAbout": auditAbout,
	}
	for i, q := range searches {
		queries[fmt.Sprint("search ", i)] = q
	}
	for _, p := range purges(s.Now(), s.conf) {
		queries["purge "+p.table+" "+p.over] = p.query()
	}
	for name, q := range queries {
		for _, step := range plan(t, s, q) {
			switch {
			case strings.HasPrefix(step, "SCAN adm"), step == "SCAN counted", step == "SCAN newest", step == "SCAN CONSTANT ROW", step == "SCAN 2 CONSTANT ROWS":
				// a table of a few rows that the query itself makes
			case name == "messages" && step == "SCAN outbox USING INDEX outbox_created":
				// walks the index backwards and stops at its limit
			case strings.HasPrefix(step, "SCAN"), strings.Contains(step, "AUTOMATIC"),
				strings.Contains(step, "TEMP B-TREE") && name != "assignments" && name != "grantsOf" && name != "sessionsOf" && name != "identitiesOf" &&
					name != "adminCount" && name != "leaseMessages" && name != "assignmentsHeld" && name != "holdersOf" &&
					name != "identitiesByEmail" && name != "eventsOf" && name != "authoritiesGiven" && name != "authoritiesTaken" && name != "messages": // few rows of one person, sorted
				t.Errorf("%s: %s\n%s", name, step, q)
			}
		}
	}
}

func plan(t *testing.T, s *Store, query string) []string {
	t.Helper()
	args := make([]any, strings.Count(query, "?"))
	var steps []string
	err := s.read(context.Background(), "EXPLAIN QUERY PLAN "+query, args, func(r *sql.Rows) error {
		for r.Next() {
			var id, parent, unused int64
			var detail string
			if err := r.Scan(&id, &parent, &unused, &detail); err != nil {
				return err
			}
			steps = append(steps, detail)
		}
		return r.Err()
	})
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", query, err))
	}
	return steps
}
