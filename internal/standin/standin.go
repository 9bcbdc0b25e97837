// Package standin holds stand-ins for GitHub and Akamai: HTTP handlers that
// behave as the real services do, as far as purgebot meets them, on loopback
// and without an account anywhere.
//
// They serve three ends: `purgebot demo`, which plays the whole product
// against them; tests, which drive real HTTP instead of mocks; and people who
// want to try their rules before they have credentials. A stand-in is useful
// only if it is no kinder than the real service, so each checks signatures,
// limits and the form of what it is sent, and refuses in the words and shapes
// of the original. Where the original's behaviour is not documented, the
// stand-in takes the stricter reading and its comment says so.
//
// A stand-in is an independent reading of the service's documentation: none
// of purgebot's own clients is used here, so that a mistake in a client can't
// hide behind the same mistake in its test. What a stand-in holds (purges
// accepted, requests seen) can be asked at any time.
//
// Nothing here is meant for a public network: a stand-in is strict with its
// own client, not hardened against strangers.
package standin
