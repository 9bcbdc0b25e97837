package web

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/store"
)

// preview shows the whole listing of a preview to whoever has the link. It is
// plain text: nothing that a file's name holds comes to life.
func (w *Web) preview(c echo.Context) error {
	listing, err := w.Store.Preview(c.Request().Context(), c.Param("key"))
	if errors.Is(err, store.ErrNotFound) {
		return w.render(c, http.StatusNotFound, "missing.html", nil)
	}
	if err != nil {
		return w.failed(c, err)
	}
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address is the key
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store")
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", listing)
}
