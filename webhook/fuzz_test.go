package webhook_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/webhook"
)

// FuzzHandler: every request gets one of the promised answers. Nothing is stored unless
// it was signed exactly as it is, and what is stored can be parsed again.
func FuzzHandler(f *testing.F) {
	const json, form = "application/json", "application/x-www-form-urlencoded"
	f.Add("push", "d-1", json, "", []byte(pushJSON), true)
	f.Add("push", "d-1", form, "", []byte(url.Values{"payload": {pushJSON}}.Encode()), true)
	f.Add("deployment_status", "d-2", json, "", []byte(deployJSON(`"waiting"`)), true)
	f.Add("push", "d-1", json, "sha256=", []byte(pushJSON), false)
	f.Add("", "", "text/plain;=", "sha1=00", []byte("{"), false)
	f.Fuzz(func(t *testing.T, event, id, contentType, signature string, body []byte, honest bool) {
		m := &memory{}
		h, err := webhook.New(webhook.Config{Secrets: []string{current}, Store: m.Store})
		if err != nil {
			t.Fatal(err)
		}
		if honest {
			signature = sha256Of(current, string(body))
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook", bytes.NewReader(body))
		for name, value := range map[string]string{
			"X-GitHub-Event": event, "X-GitHub-Delivery": id, "Content-Type": contentType, "X-Hub-Signature-256": signature,
		} {
			req.Header.Set(name, value)
		}
		rec := httptest.NewRecorder()
		if err := h(echo.New().NewContext(req, rec)); err != nil {
			t.Fatalf("the handler leaves an error to echo: %v", err)
		}
		authentic := signature == sha256Of(current, string(body))
		switch stored := m.deliveries(); rec.Code {
		case http.StatusAccepted:
			if len(stored) != 1 || !authentic {
				t.Fatalf("202 with %d deliveries stored, authentic: %t", len(stored), authentic)
			}
			if _, err := webhook.Parse(stored[0].Event, stored[0].Body); err != nil {
				t.Fatalf("what was stored can't be parsed: %v", err)
			}
		case http.StatusOK, http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnauthorized:
			if len(stored) != 0 {
				t.Fatalf("%d, but the delivery is stored", rec.Code)
			}
			// Hexadecimal digits may be capital letters, which authentic does not accept.
			if rec.Code == http.StatusUnauthorized && authentic {
				t.Fatalf("401 for a good signature")
			}
		default:
			t.Fatalf("answered %d: %s", rec.Code, rec.Body)
		}
	})
}
