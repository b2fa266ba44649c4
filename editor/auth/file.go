package auth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

const (
	fileLockTimeout = time.Second
	fileSweep       = time.Minute
)

var (
	sessionBucket    = []byte("sessions")
	cutBucket        = []byte("cuts")
	revocationBucket = []byte("revocations") // by member
)

// FileSessions keeps sessions in a file, for a service of a single process. Each change is on the disk when it returns.
type FileSessions struct {
	db        *bbolt.DB
	clock     func() time.Time
	retention time.Duration

	mu        sync.Mutex
	followers map[*func([]Revocation, bool)]struct{}
}

var _ Sessions = (*FileSessions)(nil)

// fileSession is a session as the file has it.
type fileSession struct {
	Session
	Began, Expires, Rotated time.Time
	Secret, Previous        []byte
}

// OpenFileSessions opens or makes the file. Retention is how long revocations are kept: as Options.Retention says.
func OpenFileSessions(path string, retention time.Duration, clock func() time.Time) (*FileSessions, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: fileLockTimeout})
	if err != nil {
		return nil, fmt.Errorf("sessions in %s: %w", path, err)
	}
	f := &FileSessions{
		db: db, clock: clock, retention: retention, followers: map[*func([]Revocation, bool)]struct{}{},
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{sessionBucket, cutBucket, revocationBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("sessions in %s: %w", path, err), db.Close())
	}
	return f, nil
}

// Close closes the file. Nothing may use the sessions anymore.
func (f *FileSessions) Close() error { return f.db.Close() }

// update changes the file. Sessions' own outcomes pass as they are, whether or not they change something.
func (f *FileSessions) update(change func(tx *bbolt.Tx) (outcome, err error)) error {
	var outcome error
	if err := f.db.Update(func(tx *bbolt.Tx) (err error) {
		outcome, err = change(tx)
		return err
	}); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	return outcome
}

// now is to the millisecond, as revocations are.
func (f *FileSessions) now() time.Time { return f.clock().Truncate(time.Millisecond) }

func get(tx *bbolt.Tx, family string) (s fileSession, found bool, err error) {
	data := tx.Bucket(sessionBucket).Get([]byte(family))
	if data == nil {
		return s, false, nil
	}
	err = json.Unmarshal(data, &s)
	s.Family = family
	s.Session.Began, s.Session.Expires = s.Began, s.Expires
	return s, true, err
}

func put(tx *bbolt.Tx, s fileSession) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.Bucket(sessionBucket).Put([]byte(s.Family), data)
}

// cutOf returns until when what a user began is revoked.
func cutOf(tx *bbolt.Tx, user string) (at time.Time, err error) {
	if data := tx.Bucket(cutBucket).Get([]byte(user)); data != nil {
		err = at.UnmarshalText(data)
	}
	return at, err
}

// Create implements Sessions.
func (f *FileSessions) Create(
	_ context.Context, s Session, secret Secret, lifetime time.Duration,
) (Session, error) {
	err := f.update(func(tx *bbolt.Tx) (outcome, err error) {
		at, err := cutOf(tx, s.User)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() && s.Issued.Unix() <= at.Unix() {
			return ErrRevoked, nil
		}
		now := f.now()
		s.Began, s.Expires = now, now.Add(lifetime)
		if err := makeRoom(tx, s.User); err != nil {
			return nil, err
		}
		return nil, put(tx, fileSession{Session: s, Began: s.Began, Expires: s.Expires, Rotated: now, Secret: secret[:]})
	})
	return s, err
}

// makeRoom deletes the oldest session of a user that has as many as it may have.
func makeRoom(tx *bbolt.Tx, user string) error {
	var oldest fileSession
	count := 0
	if err := each(tx, func(s fileSession) error {
		if s.User != user {
			return nil
		}
		if count++; oldest.Family == "" || s.Began.Before(oldest.Began) {
			oldest = s
		}
		return nil
	}); err != nil || count < maxUserSessions {
		return err
	}
	return tx.Bucket(sessionBucket).Delete([]byte(oldest.Family))
}

func each(tx *bbolt.Tx, visit func(fileSession) error) error {
	return tx.Bucket(sessionBucket).ForEach(func(family, _ []byte) error {
		s, _, err := get(tx, string(family))
		if err != nil {
			return err
		}
		return visit(s)
	})
}

// Rotate implements Sessions.
func (f *FileSessions) Rotate(
	_ context.Context, family string, secret, next Secret, grace time.Duration,
) (Session, error) {
	var s fileSession
	err := f.update(func(tx *bbolt.Tx) (outcome, err error) {
		var found bool
		if s, found, err = get(tx, family); err != nil {
			return nil, err
		}
		now := f.now()
		at, err := cutOf(tx, s.User)
		switch {
		case err != nil:
			return nil, err
		case !found || !now.Before(s.Expires):
			return ErrNoSession, nil
		case !at.IsZero() && !s.Began.After(at):
			return ErrRevoked, tx.Bucket(sessionBucket).Delete([]byte(family))
		case subtle.ConstantTimeCompare(s.Secret, secret[:]) == 1:
			s.Previous, s.Secret, s.Rotated = s.Secret, next[:], now
			return nil, put(tx, s)
		case subtle.ConstantTimeCompare(s.Previous, secret[:]) == 1 && now.Sub(s.Rotated) < grace:
			if subtle.ConstantTimeCompare(s.Secret, next[:]) == 1 {
				return nil, nil
			}
			return ErrReplaced, nil
		}
		return ErrReused, f.revokeFamily(tx, family)
	})
	if errors.Is(err, ErrReused) {
		f.announce(Revocation{Family: family})
	}
	return s.Session, err
}

func (f *FileSessions) revokeFamily(tx *bbolt.Tx, family string) error {
	if err := tx.Bucket(sessionBucket).Delete([]byte(family)); err != nil {
		return err
	}
	return f.record(tx, Revocation{Family: family})
}

func (f *FileSessions) record(tx *bbolt.Tx, one Revocation) error {
	data, err := f.now().MarshalText()
	if err != nil {
		return err
	}
	return tx.Bucket(revocationBucket).Put([]byte(one.member()), data)
}

// End implements Sessions.
func (f *FileSessions) End(_ context.Context, family string) error {
	ended := false
	err := f.update(func(tx *bbolt.Tx) (outcome, err error) {
		_, found, err := get(tx, family)
		if err != nil || !found {
			return nil, err
		}
		ended = true
		return nil, f.revokeFamily(tx, family)
	})
	if err == nil && ended {
		f.announce(Revocation{Family: family})
	}
	return err
}

// Revoke implements Sessions.
func (f *FileSessions) Revoke(_ context.Context, family, user string) error {
	one := Revocation{Family: family, User: user, At: f.now()}
	err := f.update(func(tx *bbolt.Tx) (outcome, err error) {
		if family != "" {
			return nil, f.revokeFamily(tx, family)
		}
		data, err := one.At.MarshalText()
		if err != nil {
			return nil, err
		}
		if err := tx.Bucket(cutBucket).Put([]byte(user), data); err != nil {
			return nil, err
		}
		return nil, f.record(tx, one)
	})
	if err == nil {
		f.announce(one)
	}
	return err
}

func (f *FileSessions) announce(one Revocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for apply := range f.followers {
		(*apply)([]Revocation{one}, false)
	}
}

// Follow implements Sessions. It also removes what has expired.
func (f *FileSessions) Follow(ctx context.Context, apply func([]Revocation, bool), _ func() []Revocation) {
	f.mu.Lock()
	f.followers[&apply] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, &apply)
	}()
	ticker := time.NewTicker(fileSweep)
	defer ticker.Stop()
	for {
		// A file that cannot be read was readable a moment ago: what it told is still known.
		if batch, err := f.sweep(); err == nil {
			apply(batch, true)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sweep removes what has expired and returns the revocations that are left.
func (f *FileSessions) sweep() (batch []Revocation, err error) {
	now := f.now()
	err = f.update(func(tx *bbolt.Tx) (outcome, err error) {
		var old [][2][]byte // bucket and key
		drop := func(bucket, key []byte) { old = append(old, [2][]byte{bucket, append([]byte(nil), key...)}) }
		if err := each(tx, func(s fileSession) error {
			if !now.Before(s.Expires) {
				drop(sessionBucket, []byte(s.Family))
			}
			return nil
		}); err != nil {
			return nil, err
		}
		dated := func(bucket []byte, keep time.Duration, visit func(key string, at time.Time)) error {
			return tx.Bucket(bucket).ForEach(func(key, value []byte) error {
				var at time.Time
				if err := at.UnmarshalText(value); err != nil || now.Sub(at) > keep {
					drop(bucket, key)
					return nil //nolint:nilerr // What cannot be read goes like what is too old.
				}
				visit(string(key), at)
				return nil
			})
		}
		err = errors.Join(
			dated(cutBucket, maxSessionLifetime, func(string, time.Time) {}),
			dated(revocationBucket, f.retention, func(member string, at time.Time) {
				if one, ok := parseRevocation(member); ok {
					one.Recorded = at
					batch = append(batch, one)
				}
			}))
		for _, o := range old {
			err = errors.Join(err, tx.Bucket(o[0]).Delete(o[1]))
		}
		return nil, err
	})
	return batch, err
}
