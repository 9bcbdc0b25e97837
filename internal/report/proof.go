package report

import (
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// WaitsForOrigin says why a purge waits for its origin. sick is why the origin serves
// nothing; "": it answers, and does not serve the deployed commit yet.
func WaitsForOrigin(sha, sick string) string {
	if sick != "" {
		return fmt.Sprintf("the origin serves no page (%s)", sick)
	}
	return "waiting for the origin to serve " + Short(sha)
}

// OriginLate says why a held purge no longer waits for its origin: the rules let a purge
// fail whose origin is late.
func OriginLate(sha string, wait time.Duration) string {
	return fmt.Sprintf("the origin did not serve %s within %s", Short(sha), wait)
}

// waitsForOrigin is the status of a purge that waits for its origin.
func waitsForOrigin(p ledger.Purge) Status {
	words := p.Proof.Words
	if words == "" {
		words = WaitsForOrigin(p.To.SHA, "")
	}
	return status("pending", "%s will be purged: %s", Objects(p.Counts), words)
}

// awaitsOrigin reports whether a held purge goes out by itself.
func awaitsOrigin(p ledger.Purge) bool {
	return p.State == ledger.Held && p.Proof.State == ledger.ProofOrigin
}

// proved is the status of a purge that was accepted, with the result of looking at its
// pages. Only a stale page makes it a failure: a page that can't be judged does not.
func proved(p ledger.Purge) Status {
	words, why := told(p), ""
	if p.Proof.Words != "" {
		why = ": " + p.Proof.Words
	}
	switch f := p.Proof; {
	case f.Checking():
		return status("pending", "%s", words)
	case f.Stale > 0:
		return status("failure", "%s%s", words, why)
	case f.Unknown() > 0:
		words += why
	}
	return status("success", "%s", join(words, p.Note, p.Start))
}

// told counts what was found out about the pages of a purge.
func told(p ledger.Purge) string {
	words, f := fmt.Sprintf("%s purged", Number(p.Counts.Accepted)), p.Proof
	switch {
	case f.Checking():
		return words + ", checking"
	case f.Stale > 0:
		return fmt.Sprintf("%s, %s still stale", words, Number(f.Stale))
	}
	if f.Fresh > 0 {
		words += fmt.Sprintf(", %s checked fresh", Number(f.Fresh))
	}
	if f.Unknown() > 0 {
		words += fmt.Sprintf(", %s can't tell", Number(f.Unknown()))
	}
	return words
}
