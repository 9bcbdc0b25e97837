package servertest

import "github.com/purgebot/purgebot/internal/policy"

// Rules are the rules of the tests' site.
const Rules = `version: 1
environments:
  production:
    network: production
    hosts: [www.acme.com, m.acme.com]
  staging:
    network: staging
    hosts: [staging.acme.com]
rules:
  - name: pages
    match: content/**/*.md
    urls: ["https://{host}/{1}/{2}/"]
  - name: assets
    match: static/**
    urls: ["https://{host}/{1}"]
  - name: shell
    match: layouts/**
    tags: [acme-shell]
`

// Policy lets acme's repositories purge what [Rules] name.
func Policy() policy.Policy {
	e := policy.NewEntry()
	e.Repositories, e.Hosts, e.Tags, e.CPCodes = []string{"acme/*"}, []string{"*.acme.com"}, []string{"acme-*"}, []int64{12345}
	return policy.Policy{e}
}
