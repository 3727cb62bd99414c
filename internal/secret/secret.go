package secret

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// redacted is all that a Buffer ever shows of itself.
const redacted = "[secret]"

var errWiped = errors.New("secret is wiped")

// Buffer holds one secret. It is safe for concurrent use. Whoever makes a Buffer
// must call [Buffer.Wipe]; see [OnLeak].
type Buffer struct {
	mu      sync.RWMutex // Use reads, Wipe writes
	pages   []byte       // whole pages; nil after Wipe
	size    int
	cleanup runtime.Cleanup
}

var (
	_ fmt.Formatter  = (*Buffer)(nil)
	_ slog.LogValuer = (*Buffer)(nil)
)

// New makes a Buffer of size zero bytes, at least one, to be filled in
// [Buffer.Use].
func New(size int) (*Buffer, error) {
	if size < 1 {
		return nil, fmt.Errorf("secret of %d bytes", size)
	}
	page := unix.Getpagesize()
	pages, err := unix.Mmap(-1, 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map pages for a secret: %w", err)
	}
	if err := advise(pages); err != nil {
		return nil, errors.Join(fmt.Errorf("protect pages of a secret: %w", err), unix.Munmap(pages))
	}
	if err := unix.Mlock(pages); err != nil {
		// A container often has no allowance. A secret that might be
		// swapped is better than a person who cannot sign.
		unlocked.report(err)
	}
	b := &Buffer{pages: pages, size: size}
	b.cleanup = runtime.AddCleanup(b, leaked, leak{pages, size})
	return b, nil
}

// Read reads a secret to the end of r, straight into its pages. It fails on an
// empty secret and on one of more than limit bytes.
func Read(r io.Reader, limit int) (*Buffer, error) {
	b, err := New(limit + 1)
	if err != nil {
		return nil, err
	}
	n, err := io.ReadFull(r, b.pages[:limit+1])
	switch {
	case err == nil:
		err = fmt.Errorf("secret is longer than %d bytes", limit)
	case errors.Is(err, io.ErrUnexpectedEOF):
		b.size = n
		return b, nil
	case errors.Is(err, io.EOF):
		err = errors.New("secret is empty")
	}
	b.Wipe()
	return nil, err
}

// Len is the secret's length in bytes; it stays known after Wipe.
func (b *Buffer) Len() int { return b.size }

// Use lends the secret to f, which must not keep it and must not call
// [Buffer.Wipe]. It returns f's error, or an error of its own after Wipe.
func (b *Buffer) Use(f func(secret []byte) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.pages == nil {
		return errWiped
	}
	return f(b.pages[:b.size:b.size])
}

// Wipe overwrites the secret and gives its pages back. It waits for every Use
// to return; a second Wipe does nothing.
func (b *Buffer) Wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pages == nil {
		return
	}
	b.cleanup.Stop()
	release(b.pages)
	b.pages = nil
}

// Format implements [fmt.Formatter] for every verb: some would print the fields.
func (b *Buffer) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String implements [fmt.Stringer].
func (b *Buffer) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (b *Buffer) GoString() string { return redacted }

// LogValue implements [slog.LogValuer].
func (b *Buffer) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler], for JSON too.
func (b *Buffer) MarshalText() ([]byte, error) { return []byte(redacted), nil }

type leak struct {
	pages []byte
	size  int
}

// leaked runs when a Buffer that was never wiped is collected.
func leaked(l leak) {
	release(l.pages)
	if f := onLeak.Load(); f != nil {
		(*f)(l.size)
	}
}

func release(pages []byte) {
	clear(pages)
	// Unmapping unlocks. It cannot fail for a mapping that we made.
	_ = unix.Munmap(pages)
}

var onLeak atomic.Pointer[func(size int)]

// OnLeak sets what is called, on a goroutine of the runtime, when a Buffer was
// collected without Wipe. Its pages are wiped all the same. Tests make it fatal.
func OnLeak(f func(size int)) { onLeak.Store(&f) }

// unlocked remembers the first refusal to lock pages and reports it once.
var unlocked refusal

type refusal struct {
	mu   sync.Mutex
	err  error
	done bool
	f    func(error)
}

// OnUnlocked sets what is called, once, when the system refuses to lock a
// secret's pages (RLIMIT_MEMLOCK). It is called at once if that has happened.
func OnUnlocked(f func(error)) {
	unlocked.mu.Lock()
	defer unlocked.mu.Unlock()
	unlocked.f = f
	unlocked.tell()
}

func (r *refusal) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.tell()
}

func (r *refusal) tell() {
	if r.err != nil && r.f != nil && !r.done {
		r.done = true
		r.f(fmt.Errorf("lock memory for secrets: %w", r.err))
	}
}
