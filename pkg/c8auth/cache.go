package c8auth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// minRead is the least time between two reads of a tenant's secret after one that
	// failed, and after any read when a caller asks for a fresh token.
	minRead = time.Second
	// readTimeout bounds a read of the store, retries included, when nothing else can be
	// given out; staleTimeout, when a valid token is cached.
	readTimeout  = 5 * time.Second
	staleTimeout = time.Second
	// readReserve is what a read leaves of the caller's deadline.
	readReserve = 500 * time.Millisecond
)

// Cache gives out valid tokens from memory, and reads the store when it must. It may be used
// concurrently, and must not be copied.
type Cache struct {
	Store *Store
	TTL   time.Duration // how long a token is given out before it is read again; at least a second

	mu      sync.Mutex
	tenants map[string]entry
	flight  singleflight.Group
}

// entry is what the cache holds of one tenant.
type entry struct {
	token   Token // the latest valid one that was read; zero if none was
	version string
	read    time.Time // when the store was last read
	err     error     // of that read; nil if it returned a valid token
	reads   int       // since a caller was last told
}

// CachedToken is a token as it is given out now.
type CachedToken struct {
	Token     Token
	Version   string        // VersionId of the token secret
	Remaining time.Duration // of the lifetime; zero if the token does not expire
	StoreErr  error         // why the last read of the store failed; nil if it succeeded
	Reads     int           // of the store since the tenant's token was last given out; set with an error as well
}

// Token returns the tenant's token, which is valid. fresh asks for the one that the store
// holds now; it is read at most once a second.
//
// The error is an [ErrTenantName], [ErrUnknownTenant], [ErrNoToken], [ErrExpired],
// [ErrUnreadable] or [ErrUnavailable]. While a valid token is cached, only the first two
// occur: the token of a tenant that was removed is not given out.
func (c *Cache) Token(ctx context.Context, tenant string, fresh bool) (CachedToken, error) {
	if err := CheckTenant(tenant); err != nil {
		return CachedToken{}, err
	}
	e := c.load(tenant)
	if e.stale(now(), c.TTL, fresh) {
		// All callers that come during a read wait for its result.
		result, _, _ := c.flight.Do(tenant, func() (any, error) {
			return c.read(ctx, tenant, fresh), nil
		})
		e = result.(entry)
	}
	token, err := e.answer(now())
	token.Reads = c.takeReads(tenant)
	return token, err
}

// Prefetch reads the tokens of the tenants, all at once. What fails is forgotten: the first
// request reads it again and reports the failure.
func (c *Cache) Prefetch(ctx context.Context, tenants []string) {
	var reading sync.WaitGroup
	for _, tenant := range tenants {
		reading.Go(func() {
			if e := c.read(ctx, tenant, false); e.err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.tenants, tenant)
			}
		})
	}
	reading.Wait()
}

// stale decides whether the store must be read before a caller is answered.
func (e entry) stale(now time.Time, ttl time.Duration, fresh bool) bool {
	age := now.Sub(e.read)
	switch {
	case e.read.IsZero(), age < 0: // never read, or the clock was set back
		return true
	case e.err == nil && !e.token.Valid(now): // it was valid when it was read: the next one may be stored
		return true
	case age < minRead:
		return false
	case e.err != nil, fresh:
		return true
	}
	return age >= ttl
}

// answer decides what a caller gets.
func (e entry) answer(now time.Time) (CachedToken, error) {
	switch {
	case e.token.Valid(now):
		cached := CachedToken{Token: e.token, Version: e.version, StoreErr: e.err}
		if e.token.Expires() {
			cached.Remaining = e.token.Remaining(now)
		}
		return cached, nil
	case e.err != nil:
		return CachedToken{}, e.err
	}
	return CachedToken{}, ErrExpired
}

// read reads the store, unless another call just has, and returns the new entry.
func (c *Cache) read(ctx context.Context, tenant string, fresh bool) entry {
	e := c.load(tenant)
	start := now()
	if !e.stale(start, c.TTL, fresh) {
		return e
	}
	timeout := readTimeout
	if e.token.Valid(start.Add(staleTimeout)) { // otherwise it may not be valid any more when the read ends
		timeout = staleTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)-readReserve)
	}
	// Others wait for this read: it does not end with the request that began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	token, version, err := c.Store.Token(ctx, tenant)
	return c.update(tenant, token, version, err)
}

// update merges what was read into the entry. A valid token is replaced by another valid one
// only, and dropped only if its tenant is gone.
func (c *Cache) update(tenant string, token Token, version string, err error) entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.tenants[tenant]
	e.read, e.err = now(), err
	e.reads++
	switch {
	case err == nil && token.Valid(e.read):
		e.token, e.version = token, version
	case err == nil:
		e.err = ErrExpired
	case errors.Is(err, ErrUnknownTenant):
		e.token, e.version = Token{}, ""
	}
	if c.tenants == nil {
		c.tenants = make(map[string]entry)
	}
	c.tenants[tenant] = e
	c.sweep(e.read)
	return e
}

// sweep drops entries without a valid token, so that made-up names cannot fill the memory.
func (c *Cache) sweep(now time.Time) {
	for tenant, e := range c.tenants {
		if !e.token.Valid(now) && now.Sub(e.read) >= minRead {
			delete(c.tenants, tenant)
		}
	}
}

func (c *Cache) load(tenant string) entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tenants[tenant]
}

// takeReads returns how often the tenant's secret was read since the last call.
func (c *Cache) takeReads(tenant string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.tenants[tenant]
	reads := e.reads
	if ok {
		e.reads = 0
		c.tenants[tenant] = e
	}
	return reads
}
