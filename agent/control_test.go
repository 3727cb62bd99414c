package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/dsse"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/key"
)

// rawClient speaks HTTP without our client's manners.
func (h *harness) rawClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", h.control)
	}}}
}

func TestControlHostile(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.Digest, Unattended: true})
	sign := "/v1/keys/" + string(in.ID) + "/sign"
	digest := base64.StdEncoding.EncodeToString(make([]byte, 32))
	good := `{"form":"digest","hash":"sha256","scheme":"ecdsa","digest":"` + digest + `"}`
	const jsonType, raw = "application/json", "application/octet-stream"
	client := h.rawClient()
	for _, c := range []struct {
		name, method, path, contentType, body string
		header                                map[string]string
		status                                int
		code                                  string // empty: success
	}{
		{"good", "POST", sign, jsonType, good, nil, 200, ""},
		{"origin", "POST", sign, jsonType, good, map[string]string{"Origin": "https://example.org"}, 403, "not_allowed"},
		{"empty origin", "GET", "/v1/status", "", "", map[string]string{"Origin": ""}, 403, "not_allowed"},
		{"no content type", "POST", sign, "", good, nil, 400, "usage"},
		{"form's content type", "POST", sign, "text/plain", good, nil, 400, "usage"},
		{"content type with parameters", "POST", sign, jsonType + "; charset=utf-8", good, nil, 400, "usage"},
		{"unknown field", "POST", sign, jsonType, `{"form":"digest","x":1}`, nil, 400, "usage"},
		{"repeated field", "POST", sign, jsonType, `{"form":"blob",` + good[1:], nil, 400, "usage"},
		{"field in capitals", "POST", sign, jsonType, strings.Replace(good, "form", "Form", 1), nil, 400, "usage"},
		{"field with a letter that folds", "POST", sign, jsonType, strings.Replace(good, "scheme", "\u017fcheme", 1), nil, 400, "usage"},
		{"escaped field", "POST", sign, jsonType, strings.Replace(good, "form", `\u0046orm`, 1), nil, 400, "usage"},
		{"trailing data", "POST", sign, jsonType, good + "{}", nil, 400, "usage"},
		{"trailing blank", "POST", sign, jsonType, good + "\n ", nil, 200, ""},
		{"array", "POST", sign, jsonType, "[" + good + "]", nil, 400, "usage"},
		{"null", "POST", sign, jsonType, "null", nil, 400, "usage"},
		{"empty", "POST", sign, jsonType, "", nil, 400, "usage"},
		{"cut", "POST", sign, jsonType, good[:20], nil, 400, "usage"},
		{"deep", "POST", sign, jsonType, `{"form":` + strings.Repeat("[", 1000), nil, 400, "usage"},
		{"not UTF-8", "POST", sign, jsonType, `{"form":"digest","subject":"` + "\xff" + `"}`, nil, 400, "usage"},
		{"number for text", "POST", sign, jsonType, `{"form":1}`, nil, 400, "usage"},
		{"bad base64", "POST", sign, jsonType, strings.Replace(good, digest, "!", 1), nil, 400, "usage"},
		{"unknown form", "POST", sign, jsonType, `{"form":"raw"}`, nil, 400, "usage"},
		{"field of another form", "POST", sign, jsonType, `{"namespace":"git",` + good[1:], nil, 400, "usage"},
		{"field missing", "POST", sign, jsonType, `{"form":"digest","hash":"sha256","scheme":"ecdsa"}`, nil, 400, "usage"},
		{"digest too short", "POST", sign, jsonType, strings.Replace(good, digest, "AAAA", 1), nil, 400, "usage"},
		{"unknown hash", "POST", sign, jsonType, strings.Replace(good, "sha256", "sha1", 1), nil, 400, "usage"},
		{"scheme of another algorithm", "POST", sign, jsonType, strings.Replace(good, "ecdsa", "rsa-pss", 1), nil, 400, "usage"},
		{"body too large", "POST", sign, jsonType, strings.Repeat(" ", limits.ControlBody+1), nil, 400, "usage"},
		{"key prefix", "POST", "/v1/keys/" + string(in.ID[:16]) + "/sign", jsonType, good, nil, 400, "usage"},
		{"other key", "POST", "/v1/keys/" + strings.Repeat("0", 64) + "/sign", jsonType, good, nil, 404, "not_found"},
		{"name for id", "DELETE", "/v1/keys/k", "", "", nil, 400, "usage"},
		{"no endpoint", "GET", "/v2/keys", "", "", nil, 404, "no_endpoint"},
		{"other method", "PUT", "/v1/keys", jsonType, good, nil, 404, "no_endpoint"},
		{"long secret", "POST", "/v1/secrets", raw, strings.Repeat("1", 65), nil, 400, "usage"},
		{"empty secret", "POST", "/v1/secrets", raw, "", nil, 400, "usage"},
		{"secret as JSON", "POST", "/v1/secrets", jsonType, `"1234"`, nil, 400, "usage"},
		{"create: unknown secret", "POST", "/v1/keys", jsonType, `{"name":"n","usage":"ssh","algorithm":"p256","pin":"secret","secret":"x"}`, nil, 400, "usage"},
		{"create: secret not used", "POST", "/v1/keys", jsonType, `{"name":"n","usage":"ssh","algorithm":"p256","pin":"none","secret":"x"}`, nil, 400, "usage"},
		{"create: no pin", "POST", "/v1/keys", jsonType, `{"name":"n","usage":"ssh","algorithm":"p256"}`, nil, 400, "usage"},
		{"create: bad name", "POST", "/v1/keys", jsonType, `{"name":"../n","usage":"ssh","algorithm":"p256","pin":"none"}`, nil, 400, "usage"},
		{"create: exists", "POST", "/v1/keys", jsonType, `{"name":"k","usage":"ssh","algorithm":"p256","pin":"none"}`, nil, 409, "exists"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, "http://x"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			for name, value := range c.header {
				r.Header[name] = []string{value}
			}
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var e errorAnswer
			body, err := io.ReadAll(response.Body)
			if err != nil || json.Unmarshal(body, &e) != nil {
				t.Fatalf("answer %q, %v", body, err)
			}
			if response.StatusCode != c.status || e.Error.Code != c.code {
				t.Errorf("answer %d %s", response.StatusCode, body)
			}
		})
	}
	for name, request := range map[string]string{
		"no length":   "POST " + sign + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"huge header": "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
	} {
		conn, err := net.Dial("unix", h.control)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		go io.WriteString(conn, request)
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
		conn.Close()
	}
}

func verifyDigest(t *testing.T, pub crypto.PublicKey, hash crypto.Hash, digest, signature []byte) {
	t.Helper()
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, digest, signature) {
			t.Error("signature does not verify")
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(k, hash, digest, signature); err != nil {
			t.Error(err)
		}
	}
}

func hashOf(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}

const aStatement = `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{}}`

// TestStructuredSigner signs every form with every algorithm.
func TestStructuredSigner(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	for _, alg := range key.Algorithms {
		t.Run(string(alg), func(t *testing.T) {
			in := h.key(key.Spec{Name: string(alg), Usage: key.Artifact, Algorithm: alg, Unattended: true})
			k, err := c.Key(t.Context(), key.Ref{Name: string(alg)}, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(in, k.Info(), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
				t.Errorf("info %s", diff)
			}
			hash := alg.Hash()
			s, err := k.SignDSSE(t.Context(), payloadType, []byte(aStatement))
			if err != nil {
				t.Fatal(err)
			}
			verifyDigest(t, in.Public, hash, hashOf(hash, dsse.PAE(payloadType, []byte(aStatement))), s)
			for _, message := range [][]byte{[]byte("message"), nil, bytes.Repeat([]byte("x"), limits.SignBlob)} {
				s, err = k.SignBlob(t.Context(), message)
				if err != nil {
					t.Fatal(err)
				}
				verifyDigest(t, in.Public, hash, hashOf(hash, message), s)
			}
			digest := hashOf(crypto.SHA512, []byte("file"))
			s, err = k.SignSSHSIG(t.Context(), "file", "sha512", digest)
			if err != nil {
				t.Fatal(err)
			}
			data, err := sshsig.SignedData("file", "sha512", digest)
			if err != nil {
				t.Fatal(err)
			}
			var parsed ssh.Signature
			if err := ssh.Unmarshal(s, &parsed); err != nil {
				t.Fatal(err)
			}
			if err := sshKey(t, in).Verify(data, &parsed); err != nil {
				t.Error(err)
			}
			if r := h.lastRecord(); r.Digest != fmt.Sprintf("sha512:%x", digest) || r.SHA256 != fmt.Sprintf("%x", hashOf(crypto.SHA256, data)) || r.Namespace != "file" {
				t.Errorf("audit %+v", r)
			}
		})
	}
}

// TestFormsRefused: what a key must not sign, whoever asks.
func TestFormsRefused(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	artifact := h.key(key.Spec{Name: "artifact", Usage: key.Artifact, Unattended: true})
	ssh := h.key(key.Spec{Name: "ssh", Usage: key.SSH})
	digest := h.key(key.Spec{Name: "digest", Usage: key.Digest, Unattended: true})
	sum := make([]byte, 32)
	login := loginData(artifact, "ecdsa-sha2-nistp256", []byte("s"), nil)
	for _, x := range []struct {
		name string
		key  key.Info
		body signRequestBody
		err  error
	}{
		{"digest by an artifact key", artifact, signRequestBody{Form: FormDigest, Hash: "sha256", Digest: sum, Scheme: schemeECDSA}, key.ErrNotAllowed},
		{"digest by an ssh key", ssh, signRequestBody{Form: FormDigest, Hash: "sha256", Digest: sum, Scheme: schemeECDSA}, key.ErrNotAllowed},
		{"blob by an ssh key", ssh, signRequestBody{Form: FormBlob, Message: sum}, key.ErrNotAllowed},
		{"statement by an ssh key", ssh, signRequestBody{Form: FormDSSE, PayloadType: payloadType, Payload: []byte("{}")}, key.ErrNotAllowed},
		{"blob by a digest key", digest, signRequestBody{Form: FormBlob, Message: sum}, key.ErrNotAllowed},
		{"namespace", ssh, signRequestBody{Form: FormSSHSIG, Namespace: "sealsmith-bundle", Hash: "sha256", Digest: sum}, key.ErrNotAllowed},
		{"login as a blob", artifact, signRequestBody{Form: FormBlob, Message: login}, key.ErrNotAllowed},
		{"SSHSIG as a blob", artifact, signRequestBody{Form: FormBlob, Message: sshsigData(t, "git")}, key.ErrNotAllowed},
		{"DSSE as a blob", artifact, signRequestBody{Form: FormBlob, Message: dsse.PAE(payloadType, sum)}, key.ErrNotAllowed},
		{"large blob", artifact, signRequestBody{Form: FormBlob, Message: make([]byte, limits.SignBlob+1)}, key.ErrUsage},
		{"large payload", artifact, signRequestBody{Form: FormDSSE, PayloadType: payloadType, Payload: make([]byte, limits.DSSEPayload+1)}, key.ErrUsage},
		{"payload type", artifact, signRequestBody{Form: FormDSSE, PayloadType: "text/plain", Payload: sum}, key.ErrNotAllowed},
		{"no statement", artifact, signRequestBody{Form: FormDSSE, PayloadType: payloadType, Payload: []byte("[]")}, key.ErrUsage},
		{"statement with repeated subject", artifact, signRequestBody{Form: FormDSSE, PayloadType: payloadType, Payload: []byte(`{"subject":[],"subject":[]}`)}, key.ErrUsage},
		{"SSHSIG hash", artifact, signRequestBody{Form: FormSSHSIG, Namespace: "file", Hash: "sha384", Digest: make([]byte, 48)}, key.ErrUsage},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := len(h.records())
			_, err := (&remoteKey{c, x.key, ""}).sign(t.Context(), x.body)
			if !errors.Is(err, x.err) {
				t.Errorf("got %v, want %v", err, x.err)
			}
			records := h.records()[before:]
			if len(records) != 1 || records[0].Outcome == outcomeDone || records[0].Form != x.body.Form {
				t.Errorf("audit %+v", records)
			}
		})
	}
	if _, err := c.Signer(t.Context(), artifact.Ref, ""); !errors.Is(err, key.ErrNotAllowed) || len(hint.Of(err)) == 0 {
		t.Errorf("a signer of an artifact key: %v", err)
	}
}

func TestDigestSigner(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	for _, alg := range []key.Algorithm{key.P256, key.RSA2048} {
		in := h.key(key.Spec{Name: string(alg), Usage: key.Digest, Algorithm: alg, Unattended: true})
		s, err := c.Signer(t.Context(), in.Ref, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			digest := hashOf(hash, []byte("m"))
			signature, err := s.Sign(nil, digest, hash)
			if err != nil {
				t.Fatal(err)
			}
			verifyDigest(t, s.Public(), hash, digest, signature)
			if !alg.RSA() {
				continue
			}
			pss := &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash}
			signature, err = s.SignContext(t.Context(), digest, pss)
			if err == nil {
				err = rsa.VerifyPSS(s.Public().(*rsa.PublicKey), hash, digest, signature, pss)
			}
			if err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Sign(nil, make([]byte, 31), crypto.SHA256); !errors.Is(err, key.ErrUsage) {
			t.Errorf("31 bytes: %v", err)
		}
		if _, err := s.Sign(nil, make([]byte, 20), crypto.SHA1); !errors.Is(err, key.ErrUsage) {
			t.Errorf("SHA-1: %v", err)
		}
		if _, err := s.Sign(nil, make([]byte, 32), &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 5}); err == nil {
			t.Error("an odd salt length was taken")
		}
		if r := h.lastRecord(); r.SHA256 != "" {
			t.Errorf("audit claims to know the data: %+v", r)
		}
	}
}

func TestCreateAndDelete(t *testing.T) {
	h := start(t, nil)
	c := h.client()
	ctx := t.Context()
	plain, err := c.Create(ctx, key.Spec{Name: "plain", Usage: key.SSH, Algorithm: key.P256, Comment: "me@here"})
	if err != nil || plain.Comment != "me@here" || plain.Policy.PIN {
		t.Fatalf("%+v, %v", plain, err)
	}
	pin := keytest.Lend([]byte("secret 1"))
	if _, err := c.Create(ctx, key.Spec{Name: "pin", Usage: key.SSH, Algorithm: key.P256, PIN: pin}); err != nil {
		t.Fatal(err)
	}
	h.person.pins = []string{"secret 2"}
	asked, err := c.CreateWithPrompt(ctx, key.Spec{Name: "asked", Usage: key.Artifact, Algorithm: key.P384, Unattended: true})
	if err != nil || !asked.Policy.PIN || !asked.Policy.Unattended {
		t.Fatalf("%+v, %v", asked, err)
	}
	if n := len(h.person.questions()); n != 2 {
		t.Errorf("asked %d times for a new PIN", n)
	}
	list, err := c.List(ctx)
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for name, want := range map[string]string{"pin": "secret 1", "asked": "secret 2"} {
		h.person.pins = []string{want}
		k, err := c.Key(ctx, key.Ref{Name: name}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.SignSSHSIG(ctx, "file", "sha256", make([]byte, 32)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Resolve(ctx, key.Ref{Name: "none"}); !errors.Is(err, key.ErrNotFound) || len(hint.Of(err)) == 0 {
		t.Errorf("a missing key: %v", err)
	}
	if in, err := c.Resolve(ctx, key.Ref{ID: plain.ID[:8]}); err != nil || in.ID != plain.ID {
		t.Errorf("by prefix: %+v, %v", in, err)
	}
	if err := c.Delete(ctx, plain.ID); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, plain.ID); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
	var actions []string
	for _, r := range h.records() {
		actions = append(actions, r.Action+" "+r.Ref+" "+string(r.Outcome))
	}
	want := []string{"create tpm/plain done", "create tpm/pin done", "create tpm/asked done", "delete tpm/plain done"}
	for _, w := range want {
		if !strings.Contains(strings.Join(actions, "\n"), w) {
			t.Errorf("no %q in %q", w, actions)
		}
	}
}

// TestBrokenBackend: its error is listed beside the keys that work, and a name
// that it could hold is not resolved to another key.
func TestBrokenBackend(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	h.backend.Broken = hint.Wrap(fmt.Errorf("look for the device: %w", key.ErrNoDevice), "plug it in")
	c := h.client()
	list, err := c.List(t.Context())
	if len(list) != 1 || !errors.Is(err, key.ErrNoDevice) || len(hint.Of(err)) != 1 {
		t.Errorf("%v, %v, hints %q", list, err, hint.Of(err))
	}
	if _, err := c.Resolve(t.Context(), key.Ref{Name: "other"}); !errors.Is(err, key.ErrNoDevice) {
		t.Errorf("resolve: %v", err)
	}
	if got, err := c.Resolve(t.Context(), key.Ref{ID: in.ID}); err != nil || got.ID != in.ID {
		t.Errorf("by whole id: %v, %v", got, err)
	}
	client, _ := h.dialSSH()
	if keys, err := client.List(); err != nil || len(keys) != 1 {
		t.Errorf("SSH: %v, %v", keys, err)
	}
}

func TestStatusAndDevice(t *testing.T) {
	h := start(t, nil)
	for name, c := range map[string]*Client{"socket": h.client(), "in process": inProcess(t, h.server)} {
		s, err := c.Status(t.Context())
		if err != nil || s.API != 1 || s.Device != "test:" || s.PID == 0 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		d, err := c.Device(t.Context())
		if err != nil || d.Device != "test:" || string(d.Status) != `{"lockout":3}` {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func inProcess(t *testing.T, s *Server) *Client {
	t.Helper()
	c := InProcess(s)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := c.Status(context.Background()); err == nil {
			t.Error("a closed client answers")
		}
	})
	return c
}

func TestInProcessSigns(t *testing.T) {
	h := start(t, nil)
	h.key(key.Spec{Name: "k", Usage: key.SSH})
	c := inProcess(t, h.server)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			k, err := c.Key(t.Context(), key.Ref{Name: "k"}, "")
			if err == nil {
				_, err = k.SignSSHSIG(t.Context(), "git", "sha256", make([]byte, 32))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDialNobody(t *testing.T) {
	h := start(t, nil)
	if _, err := Dial(t.Context(), h.control+"x"); !errors.Is(err, ErrNoAgent) || len(hint.Of(err)) == 0 {
		t.Errorf("no socket: %v", err)
	}
	h.stop()
	if _, err := Dial(t.Context(), h.control); !errors.Is(err, ErrNoAgent) {
		t.Errorf("after shutdown: %v", err)
	}
}

// TestErrorsTravel: each class of error survives the way to the client.
func TestErrorsTravel(t *testing.T) {
	for _, c := range codes {
		err := hint.Wrap(fmt.Errorf("step: %w", c.err), "do this")
		status, w := encodeError(err)
		got := roundTrip(t, w).decode()
		if !errors.Is(got, c.err) || got.Error() != err.Error() || status != c.status || !reflect.DeepEqual(hint.Of(got), []string{"do this"}) {
			t.Errorf("%v came back as %v (%d)", err, got, status)
		}
	}
	for _, left := range []int{-1, 0, 3} {
		_, w := encodeError(fmt.Errorf("step: %w", &key.PINError{TriesLeft: left}))
		var pin *key.PINError
		if got := roundTrip(t, w).decode(); !errors.As(got, &pin) || pin.TriesLeft != left {
			t.Errorf("%d tries left came back as %+v", left, got)
		}
	}
	for _, recovery := range []time.Duration{0, 90 * time.Second} {
		_, w := encodeError(fmt.Errorf("step: %w", &key.LockoutError{Recovery: recovery}))
		var lockout *key.LockoutError
		if got := roundTrip(t, w).decode(); !errors.As(got, &lockout) || lockout.Recovery != recovery {
			t.Errorf("recovery %v came back as %+v", recovery, got)
		}
	}
	_, w := encodeError(errors.New("plain"))
	if got := roundTrip(t, w).decode(); got.Error() != "plain" || errors.Unwrap(got) != nil {
		t.Errorf("plain came back as %v", got)
	}
}

func roundTrip(t *testing.T, w wireError) (back wireError) {
	t.Helper()
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// TestCancelledRequest: a client that gives up takes its prompt with it.
func TestCancelledRequest(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.Artifact})
	asked, gone := make(chan struct{}), make(chan struct{})
	h.person.confirm = func(ctx context.Context, _ Question) error {
		close(asked)
		<-ctx.Done()
		close(gone)
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	k, err := h.client().Key(ctx, in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-asked; cancel() }()
	if _, err := k.SignBlob(ctx, bytes.Repeat([]byte("x"), 100<<10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
}

// TestShutdown: prompts end, commands in flight finish, later calls fail.
func TestShutdown(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.Artifact})
	asked := make(chan struct{})
	h.person.confirm = func(ctx context.Context, _ Question) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}
	silent, err := net.Dial("unix", h.control) // must not hold it up
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	k, err := h.client().Key(t.Context(), in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() { _, err := k.SignBlob(t.Context(), []byte("x")); result <- err }()
	<-asked
	began := time.Now()
	h.stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("shutdown took %v", took)
	}
	if err := <-result; !errors.Is(err, key.ErrDenied) {
		t.Errorf("the request in flight: %v", err)
	}
	for _, serve := range []func(net.Listener) error{h.server.ServeSSH, h.server.ServeControl} {
		if err := serve(&pairListener{done: make(chan struct{})}); err != nil {
			t.Errorf("serving after shutdown: %v", err)
		}
	}
}

// TestAuditFailure: what cannot be recorded is not signed.
func TestAuditFailure(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	if err := h.server.config.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	client, _ := h.dialSSH()
	if s, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); err == nil {
		t.Errorf("got the signature %v", s)
	}
	k, err := h.client().Key(t.Context(), in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := k.SignSSHSIG(t.Context(), "git", "sha256", make([]byte, 32)); s != nil || err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("got %x, %v", s, err)
	}
}

// FuzzDecodeJSON checks that what is accepted means the same when it is written
// again, and that no name was taken for another.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{"form":"digest","hash":"sha256","scheme":"ecdsa","digest":"AAAA"}`, `{"form":"blob","message":""}`, `{}`, `[]`,
		`{"form":"a","form":"b"}`, `{"Form":"a"}`, `{"subject":"\u202e"}`, `{"form":null}`, `{"payload":"AA==\n"}`, `{"form":"a"}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second signRequestBody
		if err := decodeJSON(data, &first); err != nil {
			if !errors.Is(err, key.ErrUsage) {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeJSON(again, &second); err != nil {
			t.Fatalf("%q written again as %q: %v", data, again, err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%q is %+v, written again %+v", data, first, second)
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(data, &names); err != nil {
			t.Fatal(err)
		}
		if raw, ok := names["form"]; ok && string(raw) != "null" && first.Form == "" && string(raw) != `""` {
			t.Fatalf("%q has a form that was not read", data)
		}
		if _, ok := names["form"]; !ok && first.Form != "" {
			t.Fatalf("%q has no form and %q was read", data, first.Form)
		}
	})
}

// FuzzParseStatement checks that the subjects shown are those that other readers
// of the payload see.
func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(aStatement))
	f.Add([]byte(`{"subject":[{"name":"a","digest":{"sha256":"00"}}],"Subject":[]}`))
	f.Add([]byte(`{"subject":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, subjects, err := parseStatement(payload)
		if err != nil {
			return
		}
		var generic map[string]any
		if err := json.Unmarshal(payload, &generic); err != nil {
			t.Fatalf("accepted %q: %v", payload, err)
		}
		list, _ := generic["subject"].([]any)
		if len(list) != len(subjects) {
			t.Fatalf("%q has %d subjects, %d are shown", payload, len(list), len(subjects))
		}
		for i, one := range list {
			object, _ := one.(map[string]any)
			if name, _ := object["name"].(string); !strings.HasPrefix(subjects[i], name) {
				t.Fatalf("subject %q is shown as %q", name, subjects[i])
			}
		}
	})
}
