// Package notify tells receivers what a person should know: a signed POST of
// JSON that a chat shows as it is, and that a program can read.
//
// What happened, and whom it is for, the ledger decides and the store keeps;
// here it gets its form, and goes out once.
package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/fetch"
	"github.com/purgebot/purgebot/internal/ledger"
)

// Most is how many receivers there may be.
const Most = config.MostReceivers

// Receiver is somebody who is told, and where.
type Receiver struct {
	ledger.Receiver
	Name string // for the log: its place in the configuration, and its host

	address config.Secret
	secret  config.Secret
}

// Receivers are those of the configuration. The id of each is made of its
// address, so that it stays the same where others come and go; of a hash
// nobody can read it.
func Receivers(all []config.Receiver) (receivers []Receiver) {
	for i, c := range all {
		sum := sha256.Sum256([]byte("purgebot receiver " + c.URL.Reveal()))
		r := Receiver{
			Receiver: ledger.Receiver{ID: hex.EncodeToString(sum[:16]), Events: c.Events, Repositories: c.Repositories},
			Name:     fmt.Sprintf("notify %d", i+1), address: c.URL, secret: c.Secret,
		}
		if u, err := url.Parse(c.URL.Reveal()); err == nil {
			r.Name += " (" + u.Host + ")"
		}
		receivers = append(receivers, r)
	}
	return receivers
}

// Poster makes one POST; [fetch.Fetcher] is one.
type Poster interface {
	Post(ctx context.Context, address string, header http.Header, body []byte) (fetch.Posted, error)
}

// Send tells a receiver something once. after is how long the receiver wants to
// be left alone before the next attempt, 0 where it does not say; no error
// names its address.
func (r Receiver) Send(ctx context.Context, by Poster, m Message) (after time.Duration, err error) {
	body, err := m.JSON()
	if err != nil {
		return 0, err
	}
	mac := hmac.New(sha256.New, []byte(r.secret.Reveal()))
	mac.Write(body)
	answer, err := by.Post(ctx, r.address.Reveal(), http.Header{
		"Content-Type":             {"application/json"},
		"X-Purgebot-Event":         {string(m.Kind)},
		"X-Purgebot-Delivery":      {m.ID},
		"X-Purgebot-Attempt":       {strconv.Itoa(m.Attempt)},
		"X-Purgebot-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))},
	}, body)
	switch {
	case err != nil:
		return 0, err
	case answer.Status < 200 || answer.Status > 299:
		return answer.After, fmt.Errorf("it answers %d", answer.Status)
	}
	return 0, nil
}
