package server_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
)

// GitHub delivers to the address that people wrote: /webhook/ is accepted too, and the
// root answers with the right address.
func TestAddressesOfTheWebhook(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	const body = `{"zen":"x"}`
	mac := hmac.New(sha256.New, []byte(w.Secret))
	mac.Write([]byte(body))
	for path, want := range map[string]struct {
		status int
		words  string
	}{
		"/webhook":  {http.StatusOK, ""},
		"/webhook/": {http.StatusOK, ""},
		"/":         {http.StatusNotFound, "purgebot takes webhooks at http://" + w.Server.Addr() + "/webhook"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.Server.Addr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-GitHub-Event", "ping")
		req.Header.Set("X-GitHub-Delivery", "d-"+path)
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != want.status || !strings.Contains(string(text), want.words) {
			t.Errorf("POST %s: %s %s, %v", path, res.Status, text, err)
		}
	}
}
