package connlimit

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

const (
	refuseTime = 2 * time.Second      // for a client to read its refusal
	refuseSoon = 2 * time.Millisecond // the same while many are refused at once
	refuseRead = 64 << 10             // bytes that are read of what the client sends
	sayEvery   = time.Minute          // how often at most the log tells of refused connections
	retryAfter = "10"                 // seconds, as the header Retry-After has it
	refusal    = "purgebot has no room for another connection: try again later"
)

// refuse answers a connection that finds no room, and closes it. It does not block
// Accept. Only a bounded number of refusals may take refuseTime; the others get
// refuseSoon, so that a flood does not hold many sockets.
func (l *limits) refuse(c net.Conn) {
	l.say(context.Background())
	wait := refuseSoon
	select {
	case l.refusing <- struct{}{}:
		wait = refuseTime
	default:
	}
	go func() {
		answer(c, wait)
		if wait == refuseTime {
			<-l.refusing
		}
	}()
}

// answer writes the refusal and then reads what the client sent. If unread data were
// left, closing would reset the connection and the client would lose the answer.
func answer(c net.Conn, wait time.Duration) {
	defer c.Close() //nolint:errcheck // it is of no use to anybody
	if c.SetDeadline(time.Now().Add(wait)) != nil {
		return
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: %s\r\nConnection: close\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s\n", retryAfter, len(refusal)+1, refusal)
	if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, refuseRead)
	}
}

// say tells the log of refused connections, at most once each sayEvery: a flood must not
// fill the log too.
func (l *limits) say(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	now := l.Now()
	if now.Sub(l.saidAt) < sayEvery {
		return
	}
	l.Log.LogAttrs(ctx, slog.LevelWarn, "no room for more connections; behind a proxy, name it in listen_proxies",
		slog.Int("refused", l.refused), slog.Int("most", l.Total), slog.Int("most_from_one_address", l.PerAddress))
	l.refused, l.saidAt = 0, now
}
