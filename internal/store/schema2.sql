-- What the second step adds. A program that knows the first step alone works
-- beside it: nothing here is renamed, dropped or without a default.

-- The store's own count of what was decided here: ids are made of a replica's
-- clock, which may be set back. And the latest moment that any clock showed.
CREATE TABLE counter (
  name TEXT   PRIMARY KEY,
  n    BIGINT NOT NULL
);
INSERT INTO counter (name, n) VALUES ('purge', 0), ('clock', 0);

-- Whose a delivery is, for fair shares of the workers; 0: nobody's, or from a
-- program that does not say. How often its handling ran out of time or panicked,
-- how many handlings began and never came back, and why it is set aside if that
-- was too often.
ALTER TABLE delivery ADD COLUMN repo_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN person BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN at BIGINT NOT NULL DEFAULT 0; -- received, by GitHub's clock; 0: not known
ALTER TABLE delivery ADD COLUMN timeouts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN begun BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN set_aside TEXT NOT NULL DEFAULT '';
CREATE INDEX delivery_set_aside ON delivery (received_at) WHERE set_aside <> '';

-- Whose a preview's listing is, for its share of the room; number is that of
-- the pull request, 0 for a merge queue's.
ALTER TABLE preview ADD COLUMN repo_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE preview ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
CREATE INDEX preview_repo ON preview (repo_id, at);
CREATE INDEX post_preview ON post (repo_id, number) WHERE purge_id = '' AND number > 0;

-- When a commit was last live; 0: before this was noted.
ALTER TABLE lived ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX lived_at ON lived (at) WHERE at > 0;
CREATE INDEX push_at ON push (at);
CREATE INDEX deploy_at ON deploy (recorded_at);

-- The order in which purges were begun; 0: by a program that does not count.
ALTER TABLE purge ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
CREATE INDEX purge_seq ON purge (seq);
CREATE INDEX purge_env_seq ON purge (env_id, seq);

-- When the run began that a commit status, a check run or a workflow run ended,
-- by GitHub's clock. 0: a deployment, which has an id, or a push.
ALTER TABLE environment ADD COLUMN live_began BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environment ADD COLUMN desired_began BIGINT NOT NULL DEFAULT 0;

-- What a commit status that waits ends in when nothing comes of it.
ALTER TABLE post ADD COLUMN lapse TEXT NOT NULL DEFAULT 'failure';
CREATE INDEX post_waits ON post (at) WHERE state = 'pending' AND purge_id = '';

-- Why GitHub did not take what is to be shown, in public words. Empty: it did.
ALTER TABLE post ADD COLUMN trouble TEXT NOT NULL DEFAULT '';
CREATE INDEX post_trouble ON post (repo_id) WHERE trouble <> '';

-- A bucket that other clients of the account empty: see purger.Bucket. slow is
-- how many milliseconds an attempt may take, where that is more than usual.
ALTER TABLE budget ADD COLUMN denied BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budget ADD COLUMN rest_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budget ADD COLUMN share DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE budget ADD COLUMN slow BIGINT NOT NULL DEFAULT 0;

-- 1: the request was cut to what an answer said is left.
ALTER TABLE request ADD COLUMN cut BIGINT NOT NULL DEFAULT 0;

-- When Akamai last accepted anything of a host.
CREATE TABLE host (
  name        TEXT   PRIMARY KEY,
  accepted_at BIGINT NOT NULL
);

-- Of the failed targets, those that were not tried.
ALTER TABLE purge ADD COLUMN untried BIGINT NOT NULL DEFAULT 0;

-- The last good rules file of a repository's default branch: while a broken one
-- is there, who may deploy and what triggers stay as they were.
CREATE TABLE authority (
  repo_id BIGINT PRIMARY KEY,
  sha     TEXT   NOT NULL,
  path    TEXT   NOT NULL,
  source  BYTEA  NOT NULL -- compressed
);

-- Whether a purge took effect: what its rules ask to look at, and how far that
-- is. A purge that waits for its origin is held, and its proof is in state
-- origin.
CREATE TABLE proof (
  purge_id    TEXT   PRIMARY KEY,
  repo_id     BIGINT NOT NULL,
  state       TEXT   NOT NULL,
  asks        TEXT   NOT NULL, -- JSON
  words       TEXT   NOT NULL DEFAULT '',
  confirmed   BIGINT NOT NULL DEFAULT 0, -- 1: the origin was seen to serve what was deployed
  again_id    TEXT   NOT NULL DEFAULT '', -- the purge that sends stale pages once more
  checked     BIGINT NOT NULL DEFAULT 0,
  fresh       BIGINT NOT NULL DEFAULT 0,
  stale       BIGINT NOT NULL DEFAULT 0,
  warmed      BIGINT NOT NULL DEFAULT 0,
  warm_rule   BIGINT NOT NULL DEFAULT 0, -- where warming goes on
  warm_seq    BIGINT NOT NULL DEFAULT 0,
  began_at    BIGINT NOT NULL,
  done_at     BIGINT NOT NULL DEFAULT 0,
  next_at     BIGINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL DEFAULT 0,
  fence       BIGINT NOT NULL DEFAULT 0, -- moves with every claim
  rung_at     BIGINT NOT NULL DEFAULT 0,
  tries       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX proof_due ON proof (next_at) WHERE state <> 'done';

-- The pages that stand for a purge.
CREATE TABLE page (
  purge_id TEXT   NOT NULL,
  seq      BIGINT NOT NULL,
  url      TEXT   NOT NULL,
  deleted  BIGINT NOT NULL DEFAULT 0, -- 1: it was purged by delete
  named    BIGINT NOT NULL DEFAULT 0, -- 1: not purged by its address; the rules name it
  before   TEXT   NOT NULL DEFAULT '', -- JSON: what the edge had; '': nobody looked
  verdict  TEXT   NOT NULL DEFAULT '',
  cause    TEXT   NOT NULL DEFAULT '',
  again    TEXT   NOT NULL DEFAULT '',
  PRIMARY KEY (purge_id, seq)
);

-- Pull requests that were merged, until a deployment carries them.
CREATE TABLE merged (
  repo_id BIGINT NOT NULL,
  number  BIGINT NOT NULL,
  branch  TEXT   NOT NULL, -- that it was merged into
  sha     TEXT   NOT NULL, -- that it was merged as
  at      BIGINT NOT NULL,
  PRIMARY KEY (repo_id, number)
);
CREATE INDEX merged_branch ON merged (repo_id, branch, at);
CREATE INDEX post_live ON post (env_id, sha) WHERE number > 0 AND env_id <> '';

-- What Akamai answered to each attempt of a request, and of a target which of
-- them decided its fate; 0: none did.
CREATE TABLE answer (
  request_id TEXT   NOT NULL,
  attempt    BIGINT NOT NULL,
  at         BIGINT NOT NULL,
  status     BIGINT NOT NULL, -- of HTTP; 0: there was no answer
  verdict    TEXT   NOT NULL, -- as purger.Verdict names it
  words      TEXT   NOT NULL, -- Akamai's own
  akamai_id  TEXT   NOT NULL,
  support_id TEXT   NOT NULL,
  PRIMARY KEY (request_id, attempt)
);
ALTER TABLE target ADD COLUMN attempt BIGINT NOT NULL DEFAULT 0;

-- The delivery of the button that was pressed last on a check run and that its
-- words answer: handled once more, it changes nothing.
ALTER TABLE post ADD COLUMN pressed TEXT NOT NULL DEFAULT '';

-- What operators paused. One with ended_at 0 is active: of an open purge,
-- pause_id is the active pause that covers it, 0 if none does, and judged the
-- latest pause that it was held against.
CREATE TABLE pause (
  id           BIGINT PRIMARY KEY,
  repositories TEXT   NOT NULL, -- a glob of owner/name; '': all
  environment  TEXT   NOT NULL, -- '': all
  account      TEXT   NOT NULL, -- '': all
  everyone     BIGINT NOT NULL, -- 1: people's purges too
  paused_by    TEXT   NOT NULL,
  reason       TEXT   NOT NULL,
  began_at     BIGINT NOT NULL,
  until        BIGINT NOT NULL, -- 0: until it is resumed
  ended_at     BIGINT NOT NULL DEFAULT 0,
  ended_by     TEXT   NOT NULL DEFAULT '' -- '': its time was over, or another took its place
);
INSERT INTO counter (name, n) VALUES ('pause', 0);
ALTER TABLE purge ADD COLUMN pause_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE purge ADD COLUMN judged BIGINT NOT NULL DEFAULT 0;
CREATE INDEX purge_paused ON purge (pause_id) WHERE pause_id > 0;

-- Purges with refused targets, for whoever retries them all.
CREATE INDEX purge_failed ON purge (id) WHERE failed > 0;

-- What receivers are told. The id is made of a receiver's address, which is
-- not kept. dropped counts what it was not told since it was last reached.
CREATE TABLE receiver (
  id          TEXT   PRIMARY KEY,
  next_at     BIGINT NOT NULL DEFAULT 0,
  lease_until BIGINT NOT NULL DEFAULT 0,
  fence       BIGINT NOT NULL DEFAULT 0, -- moves with every claim
  tries       BIGINT NOT NULL DEFAULT 0, -- in vain, in a row
  dropped     BIGINT NOT NULL DEFAULT 0,
  rung_at     BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE notice (
  receiver TEXT   NOT NULL,
  id       TEXT   NOT NULL, -- of the event
  subject  TEXT   NOT NULL, -- a purge, a pause, an installation: its events are told in the order of place
  place    BIGINT NOT NULL,
  event    TEXT   NOT NULL, -- JSON
  at       BIGINT NOT NULL,
  tries    BIGINT NOT NULL DEFAULT 0,
  next_at  BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (receiver, id)
);
CREATE INDEX notice_subject ON notice (receiver, subject, place);
CREATE INDEX notice_at ON notice (at);

-- The last event that was told of a purge.
ALTER TABLE purge ADD COLUMN told TEXT NOT NULL DEFAULT '';
CREATE INDEX purge_stale ON purge (env_id) WHERE told = 'stale';

-- Since when somebody was told that an installation is unheard; 0: it is heard.
CREATE TABLE hearing (
  installation BIGINT PRIMARY KEY,
  silent       BIGINT NOT NULL DEFAULT 0, -- no webhook came for long
  failing      BIGINT NOT NULL DEFAULT 0 -- GitHub's list shows failures
);
-- What Akamai itself refused of a purge, by itself.
CREATE INDEX target_refused ON target (purge_id) WHERE state = 'failed' AND request_id <> '';

-- The pull request that a purge's page links to.
CREATE INDEX merged_sha ON merged (repo_id, sha);

-- Whose credentials a purge goes with, and those of a request; '': those of the
-- account default. What an account has of its own in budget and host has @ and
-- its name behind the bare one, which is default's.
ALTER TABLE purge ADD COLUMN account TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN account TEXT NOT NULL DEFAULT '';
CREATE INDEX purge_line_of ON purge (account, lane, (urls + tags + cpcodes), id) WHERE state = 'open';
CREATE INDEX request_accepted_of ON request (account, kind, settled_at) WHERE state = 'accepted';

-- How many milliseconds a replica's clock is ahead of the database's; far
-- behind: a program that does not say.
ALTER TABLE replica ADD COLUMN ahead BIGINT NOT NULL DEFAULT -1000000000000000;
