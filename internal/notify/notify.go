// Package notify tells receivers what a person should know: a signed POST with JSON that
// a chat shows as it is and that a program can read.
//
// The ledger decides what happened and who hears of it, and the store keeps that. This
// package gives a message its form and sends it once. Retries are the pipeline's.
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

// Receiver is where messages go, and which of them.
type Receiver struct {
	ledger.Receiver
	Name string // for the log: its position in the configuration, and its host

	address config.Secret // a chat's address is enough to write there
	secret  config.Secret // signs what is sent
}

// Receivers makes the receivers of the configuration. The id of each is derived from its
// address, so it stays the same when other receivers are added or removed. It is part of
// a hash, so the id does not reveal the address.
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

// Send sends a message to the receiver once. after is how long the receiver asks to wait
// before the next attempt, 0 if it does not say. No error contains the address. Any
// status but 2xx is an error.
//
// The signature covers the body exactly as sent: HMAC-SHA256, in hexadecimal. A receiver
// must verify it before it decodes the JSON.
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
