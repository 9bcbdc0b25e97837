-- One schema for SQLite and PostgreSQL. Ids are TEXT (ULIDs) or GitHub's own
-- numbers, times are BIGINT milliseconds since 1970 (0: never), no column is
-- NULL, so that one text of each query serves both engines.

CREATE TABLE repo (
  id             BIGINT PRIMARY KEY, -- GitHub's: names change
  owner          TEXT   NOT NULL,
  name           TEXT   NOT NULL,
  installation   BIGINT NOT NULL,
  default_branch TEXT   NOT NULL,
  first_seen_at  BIGINT NOT NULL,
  compared_at    BIGINT NOT NULL DEFAULT 0, -- up to when GitHub's deployments were compared with the ledger
  gone           TEXT   NOT NULL DEFAULT '' -- why nothing can be read or written there, in public words
);
CREATE INDEX repo_gone ON repo (id) WHERE gone <> '';

-- What one process does for all from time to time, such as asking GitHub what was missed.
CREATE TABLE chore (
  name        TEXT   PRIMARY KEY,
  next_at     BIGINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL DEFAULT 0,
  fence       BIGINT NOT NULL DEFAULT 0, -- moves with every claim
  last_at     BIGINT NOT NULL DEFAULT 0 -- when the last one that got through began
);

-- The processes that work on a PostgreSQL database. One whose beat stands still is dead.
CREATE TABLE replica (
  id   TEXT   PRIMARY KEY,
  beat BIGINT NOT NULL
);

-- The failed deliveries that GitHub was asked to deliver again.
CREATE TABLE redelivery (
  guid     TEXT   PRIMARY KEY,
  attempt  BIGINT NOT NULL, -- GitHub's id of the attempt that failed
  times    BIGINT NOT NULL,
  asked_at BIGINT NOT NULL
);

-- When an installation wrote to GitHub within the last hour: see ledger.Writes.
CREATE TABLE pace (
  installation BIGINT PRIMARY KEY,
  writes       BYTEA  NOT NULL
);

-- What is written to see whether the database takes a webhook: one row.
CREATE TABLE probe (
  id     BIGINT PRIMARY KEY,
  filler BYTEA  NOT NULL
);

CREATE TABLE delivery (
  guid        TEXT   PRIMARY KEY,
  event       TEXT   NOT NULL,
  body        BYTEA  NOT NULL, -- compressed
  received_at BIGINT NOT NULL,
  handled_at  BIGINT NOT NULL DEFAULT 0,
  outcome     TEXT   NOT NULL DEFAULT '',
  next_at     BIGINT NOT NULL, -- not to be handled before
  rung_at     BIGINT NOT NULL DEFAULT 0, -- when the sweep last rang for it
  tries       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX delivery_old ON delivery (received_at) WHERE handled_at > 0;
CREATE INDEX delivery_due ON delivery (next_at) WHERE handled_at = 0;

CREATE TABLE environment (
  id             TEXT   PRIMARY KEY,
  repo_id        BIGINT NOT NULL,
  name           TEXT   NOT NULL,
  name_folded    TEXT   NOT NULL,
  live_sha       TEXT   NOT NULL DEFAULT '',
  live_deploy    BIGINT NOT NULL DEFAULT 0,
  live_status    BIGINT NOT NULL DEFAULT 0,
  live_at        BIGINT NOT NULL DEFAULT 0,
  desired_sha    TEXT   NOT NULL DEFAULT '',
  desired_deploy BIGINT NOT NULL DEFAULT 0,
  desired_status BIGINT NOT NULL DEFAULT 0,
  desired_at     BIGINT NOT NULL DEFAULT 0,
  due_at         BIGINT NOT NULL DEFAULT 0,
  fault          TEXT   NOT NULL DEFAULT '',
  seq            BIGINT NOT NULL DEFAULT 0,
  next_at        BIGINT NOT NULL DEFAULT 0, -- not to be reconciled before: backing off
  rung_at        BIGINT NOT NULL DEFAULT 0,
  tries          BIGINT NOT NULL DEFAULT 0,
  UNIQUE (repo_id, name_folded)
);

-- The commits that were deployed and overtaken before they were planned: caches
-- may hold what they served, which the difference of others need not show.
CREATE TABLE served (
  env_id    TEXT   NOT NULL,
  sha       TEXT   NOT NULL,
  deploy_id BIGINT NOT NULL,
  status_id BIGINT NOT NULL,
  at        BIGINT NOT NULL,
  PRIMARY KEY (env_id, sha)
);

-- The commits that were ever live, to tell a rollback.
CREATE TABLE lived (
  env_id TEXT NOT NULL,
  sha    TEXT NOT NULL,
  PRIMARY KEY (env_id, sha)
);

-- A whole listing, of the live commit or of one before: GitHub may forget a commit.
CREATE TABLE tree (
  env_id  TEXT  PRIMARY KEY,
  listing BYTEA NOT NULL
);

-- The rules file of the live commit: what changed since tells whether another
-- commit has the same, and GitHub may forget a commit.
CREATE TABLE live_rules (
  env_id TEXT  PRIMARY KEY,
  sha    TEXT  NOT NULL,
  path   TEXT  NOT NULL, -- '': the commit has none
  source BYTEA NOT NULL  -- compressed
);

CREATE TABLE deploy (
  status_id   BIGINT NOT NULL, -- of a deployment, or of what else triggers: ids of one kind in one environment
  env_id      TEXT   NOT NULL,
  deploy_id   BIGINT NOT NULL,
  sha         TEXT   NOT NULL,
  state       TEXT   NOT NULL,
  creator     TEXT   NOT NULL,
  recorded_at BIGINT NOT NULL,
  PRIMARY KEY (env_id, status_id)
);
CREATE INDEX deploy_env ON deploy (env_id, recorded_at);

CREATE TABLE push (
  repo_id BIGINT NOT NULL,
  branch  TEXT   NOT NULL,
  before_sha TEXT NOT NULL,
  after_sha  TEXT NOT NULL,
  at      BIGINT NOT NULL,
  guid    TEXT   NOT NULL DEFAULT '', -- of the delivery that told it first
  PRIMARY KEY (repo_id, branch, before_sha, after_sha, at)
);
CREATE INDEX push_after ON push (repo_id, after_sha);

CREATE TABLE purge (
  id            TEXT   PRIMARY KEY,
  key           TEXT   NOT NULL UNIQUE,
  repo_id       BIGINT NOT NULL,
  env_id        TEXT   NOT NULL,
  environment   TEXT   NOT NULL,
  cause         TEXT   NOT NULL,
  caused_by     TEXT   NOT NULL,
  from_sha      TEXT   NOT NULL,
  to_sha        TEXT   NOT NULL,
  to_deploy     BIGINT NOT NULL,
  to_status     BIGINT NOT NULL,
  to_at         BIGINT NOT NULL,
  network       TEXT   NOT NULL,
  start         TEXT   NOT NULL,
  note          TEXT   NOT NULL,
  unmatched     TEXT   NOT NULL, -- JSON list
  lane          BIGINT NOT NULL,
  version       BIGINT NOT NULL DEFAULT 0,
  state         TEXT   NOT NULL,
  urls          BIGINT NOT NULL DEFAULT 0,
  tags          BIGINT NOT NULL DEFAULT 0,
  cpcodes       BIGINT NOT NULL DEFAULT 0,
  sent          BIGINT NOT NULL DEFAULT 0, -- read by nobody; the release before counts in it
  accepted      BIGINT NOT NULL DEFAULT 0,
  failed        BIGINT NOT NULL DEFAULT 0,
  reason        TEXT   NOT NULL DEFAULT '',
  created_at    BIGINT NOT NULL,
  opened_at     BIGINT NOT NULL DEFAULT 0,
  first_sent_at BIGINT NOT NULL DEFAULT 0,
  done_at       BIGINT NOT NULL DEFAULT 0,
  ended_by      TEXT   NOT NULL DEFAULT '',
  closed        TEXT   NOT NULL DEFAULT '' -- of a held one: why its status waits no longer; of one that nobody cancelled: what covers it
);
CREATE INDEX purge_env ON purge (env_id, id);
CREATE INDEX purge_line ON purge (state, lane, (urls + tags + cpcodes), id);

CREATE TABLE target (
  purge_id   TEXT   NOT NULL,
  seq        BIGINT NOT NULL,
  kind       TEXT   NOT NULL,
  network    TEXT   NOT NULL,
  action     TEXT   NOT NULL,
  object     TEXT   NOT NULL,
  rule       TEXT   NOT NULL,
  path       BYTEA  NOT NULL, -- any bytes that git allows
  reason     TEXT   NOT NULL DEFAULT '',
  state      TEXT   NOT NULL,
  request_id TEXT   NOT NULL DEFAULT '',
  PRIMARY KEY (purge_id, seq)
);
CREATE INDEX target_queue ON target (purge_id, kind, action, seq) WHERE state = 'waiting';
CREATE INDEX target_object ON target (kind, network, object) WHERE state = 'waiting';
CREATE INDEX target_delete ON target (kind, network, object) WHERE state = 'waiting' AND action = 'delete';
CREATE INDEX target_failed ON target (purge_id, seq) WHERE state = 'failed';
CREATE INDEX target_request ON target (request_id) WHERE request_id <> '';

CREATE TABLE request (
  id          TEXT   PRIMARY KEY,
  kind        TEXT   NOT NULL,
  network     TEXT   NOT NULL,
  action      TEXT   NOT NULL,
  lane        BIGINT NOT NULL,
  state       TEXT   NOT NULL, -- ready, sending, accepted, refused, split
  attempt     BIGINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL DEFAULT 0,
  next_at     BIGINT NOT NULL DEFAULT 0,
  objects     BIGINT NOT NULL,
  akamai_id   TEXT   NOT NULL DEFAULT '',
  support_id  TEXT   NOT NULL DEFAULT '',
  parent      TEXT   NOT NULL DEFAULT '', -- the request that was split
  refused_at  BIGINT NOT NULL DEFAULT 0, -- when it, or what it was split from, was first refused with nothing named
  refusal     TEXT   NOT NULL DEFAULT '', -- Akamai's words, when it was refused with nothing named
  sent_at     BIGINT NOT NULL DEFAULT 0,
  settled_at  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX request_due ON request (kind, next_at) WHERE state IN ('ready', 'sending');
CREATE INDEX request_accepted ON request (kind, settled_at) WHERE state = 'accepted';
CREATE INDEX request_parent ON request (parent) WHERE parent <> '';

CREATE TABLE budget (
  bucket       TEXT   PRIMARY KEY, -- requests, url, tag, cpcode
  tokens       DOUBLE PRECISION NOT NULL,
  at           BIGINT NOT NULL,
  capacity     DOUBLE PRECISION NOT NULL, -- as Akamai last said
  per_second   DOUBLE PRECISION NOT NULL,
  paused_until BIGINT NOT NULL DEFAULT 0, -- nothing is sent before; requests' row pauses the account
  failures     BIGINT NOT NULL DEFAULT 0, -- answers in a row that say that Akamai is away
  words        TEXT   NOT NULL DEFAULT '' -- why it is paused
);

-- What people asked for by a comment on a pull request.
CREATE TABLE command (
  repo_id     BIGINT NOT NULL,
  comment_id  BIGINT NOT NULL,
  number      BIGINT NOT NULL, -- of the pull request
  person      BIGINT NOT NULL, -- GitHub's id of the account
  at          BIGINT NOT NULL, -- when the comment was made
  environment TEXT   NOT NULL DEFAULT '',
  sha         TEXT   NOT NULL DEFAULT '', -- the head whose rules and files it goes by, from the first handling on
  purge_id    TEXT   NOT NULL DEFAULT '', -- what it made, or acted on
  outcome     TEXT   NOT NULL DEFAULT '', -- '' while under way
  PRIMARY KEY (repo_id, comment_id)
);
CREATE INDEX command_pull ON command (repo_id, number) WHERE purge_id <> '';
CREATE INDEX command_at ON command (at);

-- When people asked for something, by a comment or a button: one may ask for so much in a while.
CREATE TABLE ask (
  repo_id BIGINT NOT NULL,
  fact    TEXT   NOT NULL, -- comment/ID, or press/GUID of the delivery
  person  BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  PRIMARY KEY (repo_id, fact)
);
CREATE INDEX ask_person ON ask (repo_id, person, at);
CREATE INDEX ask_at ON ask (at);

-- One row for each thing that GitHub shows and that purgebot writes.
CREATE TABLE post (
  surface        TEXT   PRIMARY KEY, -- status/REPO/SHA/CONTEXT, reply/REPO/NUMBER/…, reaction/REPO/COMMENT/…
  repo_id        BIGINT NOT NULL,
  env_id         TEXT   NOT NULL,
  sha            TEXT   NOT NULL,
  context        TEXT   NOT NULL,
  purge_id       TEXT   NOT NULL, -- whose words these are; '': state and words say it themselves
  state          TEXT   NOT NULL,
  words          TEXT   NOT NULL,
  at             BIGINT NOT NULL, -- of the fact behind it, to order a preview against another
  ended          BIGINT NOT NULL DEFAULT 0, -- 1: a later commit's purge carried this one
  version        BIGINT NOT NULL,
  posted_version BIGINT NOT NULL DEFAULT 0,
  posted         TEXT   NOT NULL DEFAULT '', -- the words on GitHub now
  next_at        BIGINT NOT NULL DEFAULT 0,
  lease_until    BIGINT NOT NULL DEFAULT 0,
  tries          BIGINT NOT NULL DEFAULT 0,
  number         BIGINT NOT NULL DEFAULT 0, -- of the pull request that a reply is on
  comment_id     BIGINT NOT NULL DEFAULT 0, -- that is reacted or replied to
  remote_id      BIGINT NOT NULL DEFAULT 0, -- GitHub's id of what was written last; 0: none is known
  claims         BIGINT NOT NULL DEFAULT 0, -- how often somebody set out to write it since it was last settled
  rung_at        BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX post_due ON post (next_at) WHERE version > posted_version;
CREATE INDEX post_old ON post (next_at) WHERE version = posted_version;
CREATE INDEX post_env ON post (env_id) WHERE purge_id = '';
CREATE INDEX post_purge ON post (purge_id);

-- The whole listing of a preview whose check run can't hold it.
CREATE TABLE preview (
  surface TEXT   PRIMARY KEY,
  key     TEXT   NOT NULL UNIQUE,
  listing BYTEA  NOT NULL, -- compressed
  at      BIGINT NOT NULL
);
CREATE INDEX preview_at ON preview (at);
