package oci

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/ocitest"
)

// answer makes a fault: an answer to GET requests whose path contains the part.
func answer(part string, f http.HandlerFunc) ocitest.Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) || r.Method != http.MethodGet {
			return false
		}
		f(w, r)
		return true
	}
}

// document answers with a JSON document.
func document(mediaType types.MediaType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", string(mediaType))
		io.WriteString(w, text)
	}
}

// endless answers with a body that never ends.
func endless(mediaType types.MediaType) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", string(mediaType))
		page := []byte(strings.Repeat(" ", 64<<10))
		for r.Context().Err() == nil {
			if _, err := w.Write(page); err != nil {
				return
			}
		}
	}
}

// pushedBehind pushes the small image, attaches to it, and serves the registry
// with a fault from then on.
func pushedBehind(t *testing.T, fault ocitest.Fault) Subject {
	t.Helper()
	var broken atomic.Bool
	host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), func(w http.ResponseWriter, r *http.Request) bool {
		return broken.Load() && fault(w, r)
	}))
	client := newTestClient()
	subject := pushed(t, client, host)
	if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	return subject
}

func TestHostileManifests(t *testing.T) {
	const empty = `{"schemaVersion":2,"config":{"mediaType":"a/b","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}`
	for name, f := range map[string]http.HandlerFunc{
		"not JSON":           document(types.OCIImageIndex, "index"),
		"data after it":      document(types.OCIManifestSchema1, empty+"{}"),
		"no schema version":  document(types.OCIManifestSchema1, strings.Replace(empty, `"schemaVersion":2,`, "", 1)),
		"manifest as index":  document(types.OCIImageIndex, empty),
		"index as manifest":  document(types.OCIManifestSchema1, `{"schemaVersion":2,"manifests":[]}`),
		"index and manifest": document(types.OCIImageIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`),
		"other media type":   document(types.OCIManifestSchema1, strings.Replace(empty, "{", `{"mediaType":"`+string(types.DockerManifestSchema2)+`",`, 1)),
		"schema 1":           document(types.DockerManifestSchema1Signed, empty),
		"borrowed digest": func(w http.ResponseWriter, r *http.Request) {
			// The library believes this header for this media type.
			w.Header().Set("Docker-Content-Digest", path.Base(r.URL.Path))
			document(types.DockerManifestSchema1Signed, empty)(w, r)
		},
		"unknown media type": document("text/html", "<html>"),
		"too large":          document(types.OCIImageIndex, `{"schemaVersion":2,"manifests":[]}`+strings.Repeat(" ", 4<<20)),
		"endless":            endless(types.OCIImageIndex),
		"announces 1 TB":     func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "1000000000000") },
		"huge header":        func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 100<<10)) },
		"redirects for ever": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"/", http.StatusTemporaryRedirect)
		},
		"redirect to plain far": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.org/", http.StatusTemporaryRedirect)
		},
		"redirect to a file": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			subject := pushedBehind(t, answer("/manifests/", f))
			want := ErrInvalid
			if name == "huge header" {
				want = ErrUnreachable
			}
			if got, err := newTestClient().Resolve(t.Context(), subject.Repository()+":v1"); !errors.Is(err, want) || len(err.Error()) > 500 {
				t.Errorf("by tag: %v, %v", got, err)
			}
			if got, err := newTestClient().Resolve(t.Context(), subject.String()); !errors.Is(err, want) || len(err.Error()) > 500 {
				t.Errorf("by digest: %v, %v", got, err)
			}
			// What is bad is passed over, where the registry answers at all.
			if want == ErrInvalid {
				want = ErrNotAttached
			}
			if got, err := attached(t, newTestClient(), subject); !errors.Is(err, want) || len(err.Error()) > 1000 {
				t.Errorf("attached: %v, %v", got, err)
			}
		})
	}
}

func TestHostileReferrers(t *testing.T) {
	list := func(entries, size int) string {
		var all []string
		for i := range entries {
			all = append(all, fmt.Sprintf(`{"mediaType":"a/b","size":%d,"digest":"sha256:%064x"}`, size, i))
		}
		return `{"schemaVersion":2,"manifests":[` + strings.Join(all, ",") + `]}`
	}
	page := func(link, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", link)
			document(types.OCIImageIndex, text)(w, r)
		}
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"not JSON":       {document(types.OCIImageIndex, "referrers"), ErrInvalid},
		"a manifest":     {document(types.OCIImageIndex, `{"schemaVersion":2,"config":{}}`), ErrInvalid},
		"too many":       {document(types.OCIImageIndex, list(10_001, 1<<20)), ErrInvalid},
		"endless body":   {endless(types.OCIImageIndex), ErrInvalid},
		"endless pages":  {page("<?n=next>; rel=next", list(1, 1)), ErrInvalid},
		"page far away":  {page(`<https://example.org/v2/>; rel="next"`, list(1, 1)), ErrInvalid},
		"page elsewhere": {page(`<http://127.0.0.1:1/>; rel="next"`, list(1, 1)), ErrInvalid},
		"page nowhere":   {page("<http://%zz>; rel=next", list(1, 1)), ErrInvalid},
		"redirect elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, ErrInvalid},
		"error":          {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, ErrUnreachable},
		"teapot":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }, ErrInvalid},
		"dangling":       {document(types.OCIImageIndex, list(3, 1)), ErrNotAttached},
		"foreign digest": {document(types.OCIImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"sha512:`+strings.Repeat("0", 128)+`"}]}`), ErrNotAttached},
		"no digest":      {document(types.OCIImageIndex, `{"schemaVersion":2,"manifests":[{}]}`), ErrNotAttached},
		"huge":           {document(types.OCIImageIndex, list(10_000, 1<<20)), ErrNotAttached},
		"web page":       {document("text/html", "<html>"), ErrNotAttached}, // no referrers API
	} {
		t.Run(name, func(t *testing.T) {
			subject := pushedBehind(t, answer("/referrers/", test.answer))
			if got, err := attached(t, newTestClient(), subject); !errors.Is(err, test.want) || len(err.Error()) > 3000 {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

// TestReferrersPages: pages are followed to the last, repetitions dropped.
func TestReferrersPages(t *testing.T) {
	registry := ocitest.Handler(true)
	client := newTestClient()
	var pages []string
	host := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			page := r.URL.Query().Get("page")
			pages = append(pages, page)
			if next := map[string]string{"": "2", "2": "3"}[page]; next != "" {
				w.Header().Add("Link", `<http://`+r.Host+`/first>; rel="first"`)
				w.Header().Add("Link", fmt.Sprintf(`</last>; rel=last, <%s?page=%s>; title="x"; rel="next"`, r.URL.Path, next))
			}
		}
		registry.ServeHTTP(w, r)
	}))
	subject := pushed(t, client, host)
	if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
		t.Fatal(err)
	}
	pages = nil
	got, err := attached(t, client, subject)
	if err != nil || len(got) != 1 || !slices.Equal(pages, []string{"", "2", "3"}) {
		t.Errorf("%v, %v, pages %q", got, err, pages)
	}
}

func TestHostileBlobs(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"other bytes": {document("a/b", "ALICE"), ErrNotAttached},
		"more bytes":  {document("a/b", "alice and more"), ErrNotAttached},
		"fewer bytes": {document("a/b", "ali"), ErrNotAttached},
		"endless":     {endless("a/b"), ErrNotAttached},
		"error":       {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, ErrUnreachable},
		"denied":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) }, ErrDenied},
		"gone":        {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }, ErrNotAttached},
		"cut off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "ali")
		}, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			subject := pushedBehind(t, answer("/blobs/", test.answer))
			if got, err := attached(t, newTestClient(), subject); !errors.Is(err, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

// TestPatience: a registry that is overloaded is asked again, as often and as
// late as it says, within bounds.
func TestPatience(t *testing.T) {
	for name, test := range map[string]struct {
		failures int32
		status   int
		after    string
		want     error
		asked    int32
	}{
		"once":            {1, http.StatusTooManyRequests, "0", nil, 2},
		"three times":     {3, http.StatusServiceUnavailable, "", nil, 4},
		"by a past date":  {1, http.StatusBadGateway, "Tue, 14 Nov 2023 22:13:20 GMT", nil, 2},
		"for ever":        {100, http.StatusGatewayTimeout, "0", ErrUnreachable, 4},
		"until next year": {100, http.StatusTooManyRequests, "31536000", ErrUnreachable, 1},
		"until nonsense":  {100, http.StatusTooManyRequests, "soon", ErrUnreachable, 1},
		"not our fault":   {100, http.StatusInternalServerError, "0", ErrUnreachable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			subject := pushedBehind(t, answer("/manifests/", func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > test.failures {
					document(types.OCIImageIndex, `{"schemaVersion":2,"manifests":[]}`)(w, r)
					return
				}
				if test.after != "" {
					w.Header().Set("Retry-After", test.after)
				}
				w.WriteHeader(test.status)
			}))
			got, err := newTestClient().Resolve(t.Context(), subject.Repository()+":v1")
			if !errors.Is(err, test.want) || asked.Load() != test.asked {
				t.Errorf("%v, %v, asked %d times; want %v, %d", got, err, asked.Load(), test.want, test.asked)
			}
		})
	}
}

// TestRetryAfterIsHonoured: the wait that a registry asks for is the wait.
func TestRetryAfterIsHonoured(t *testing.T) {
	for after, want := range map[string]time.Duration{"7": 7 * time.Second, "0": 0, "30": 30 * time.Second} {
		err := retryAnswer(&http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {after}}})
		if asked := (*backoff.RetryAfterError)(nil); !errors.As(err, &asked) || asked.Duration != want {
			t.Errorf("%s: %v", after, err)
		}
	}
}

// TestWhatIsSentAgain: a manifest, whole; not a part of an upload, of which the
// registry may have kept some.
func TestWhatIsSentAgain(t *testing.T) {
	for method, want := range map[string][]string{
		http.MethodPut:   {"manifest", "manifest"},
		http.MethodPatch: {"manifest"},
	} {
		var bodies []string
		host := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if bodies = append(bodies, string(body)); len(bodies) == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+host, strings.NewReader("manifest"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&guard{next: newTransport(), loopback: true, wait: newTestClient().wait}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if !slices.Equal(bodies, want) || (resp.StatusCode == http.StatusOK) != (len(want) == 2) {
			t.Errorf("%s: sent %q, status %d", method, bodies, resp.StatusCode)
		}
	}
}

func TestPlainHTTPOnlyWithinLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1": true, "127.9.9.9:80": true, "[::1]:5000": true, "::1": true,
		"example.org": false, "localhost.example.org": false, "10.0.0.1:5000": false, "192.168.1.1": false,
		"registry.local": false, "127.0.0.1.example.org:80": false, "0.0.0.0": false, "": false, "2130706433": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%q: loopback %t", host, got)
		}
	}
	for _, test := range []struct {
		loopback bool
		url      string
		want     bool
	}{
		{true, "http://127.0.0.1:5000/v2/", true},
		{true, "https://example.org/", true},
		{true, "http://example.org/", false},
		{false, "https://example.org/", true},
		{false, "http://localhost/", false}, // a far registry does not reach our services
		{false, "http://10.0.0.1/", false},
		{true, "ftp://127.0.0.1/", false},
	} {
		r, err := http.NewRequest(http.MethodGet, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := (&guard{loopback: test.loopback}).check(r); (err == nil) != test.want {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
