package agent

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
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
	"github.com/sealsmith/sealsmith/provenance"
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
		{"octets as numbers", "POST", sign, jsonType, strings.Replace(good, `"`+digest+`"`, "[0]", 1), nil, 400, "usage"},
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
		{"other method", "PUT", "/v1/keys", "", "", nil, 404, "no_endpoint"},
		{"other method with a body", "PUT", "/v1/keys", jsonType, good, nil, 400, "usage"},
		{"GET with a body", "GET", "/v1/status", jsonType, "{}", nil, 400, "usage"},
		{"DELETE with a body", "DELETE", "/v1/keys/" + string(in.ID), jsonType, "{}", nil, 400, "usage"},
		{"reload with a body", "POST", "/v1/reload", jsonType, "{}", nil, 400, "usage"},
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
			if c.code == "" && response.Close {
				t.Error("the connection is not kept")
			}
		})
	}
	const chunked = " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
	for request, want := range map[string]string{
		"POST " + sign + chunked:      "body without a Content-Length",
		"POST /v1/reload" + chunked:   "takes no body",
		"DELETE /v1/keys/x" + chunked: "takes no body",
		"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n": "Request Header Fields Too Large",
	} {
		conn, err := net.Dial("unix", h.control)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		go io.WriteString(conn, request)
		answer, err := io.ReadAll(conn) // which ends in an error if it was not all read
		if !strings.HasPrefix(string(answer), "HTTP/1.1 4") || !strings.Contains(string(answer), want) {
			t.Errorf("%.80q: %q, %v", request, answer, err)
		}
		conn.Close()
	}
}

func hashOf(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}

const aStatement = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"gitCommit":"0123456789012345678901234567890123456789"}}],"predicateType":"x","predicate":{}}`

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
			s, err := k.SignDSSE(t.Context(), provenance.PayloadType, []byte(aStatement))
			if err != nil {
				t.Fatal(err)
			}
			if !keytest.Verifies(in.Public, hash, hashOf(hash, dsse.PAE(provenance.PayloadType, []byte(aStatement))), s) {
				t.Error("signature of a statement does not verify")
			}
			for _, message := range [][]byte{[]byte("message"), nil, bytes.Repeat([]byte("x"), limits.SignBlob)} {
				s, err = k.SignBlob(t.Context(), message)
				if err != nil {
					t.Fatal(err)
				}
				if !keytest.Verifies(in.Public, hash, hashOf(hash, message), s) {
					t.Error("signature of a message does not verify")
				}
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
	statement := func(payload string) signRequestBody {
		return signRequestBody{Form: FormDSSE, PayloadType: provenance.PayloadType, Payload: []byte(payload)}
	}
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
		{"statement by an ssh key", ssh, signRequestBody{Form: FormDSSE, PayloadType: provenance.PayloadType, Payload: []byte(aStatement)}, key.ErrNotAllowed},
		{"blob by a digest key", digest, signRequestBody{Form: FormBlob, Message: sum}, key.ErrNotAllowed},
		{"namespace", ssh, signRequestBody{Form: FormSSHSIG, Namespace: "sealsmith-bundle", Hash: "sha256", Digest: sum}, key.ErrNotAllowed},
		{"login as a blob", artifact, signRequestBody{Form: FormBlob, Message: login}, key.ErrNotAllowed},
		{"SSHSIG as a blob", artifact, signRequestBody{Form: FormBlob, Message: sshsigData(t, "git")}, key.ErrNotAllowed},
		{"DSSE as a blob", artifact, signRequestBody{Form: FormBlob, Message: dsse.PAE(provenance.PayloadType, sum)}, key.ErrNotAllowed},
		{"large blob", artifact, signRequestBody{Form: FormBlob, Message: make([]byte, limits.SignBlob+1)}, key.ErrUsage},
		{"large payload", artifact, signRequestBody{Form: FormDSSE, PayloadType: provenance.PayloadType, Payload: make([]byte, limits.DSSEPayload+1)}, key.ErrUsage},
		{"payload type", artifact, signRequestBody{Form: FormDSSE, PayloadType: "text/plain", Payload: sum}, key.ErrNotAllowed},
		{"array for a statement", artifact, statement("[]"), key.ErrUsage},
		{"empty object for a statement", artifact, statement("{}"), key.ErrUsage},
		{"other object for a statement", artifact, statement(`{"hello":1}`), key.ErrUsage},
		{"statement with a repeated subject", artifact, statement(`{"subject":[],` + aStatement[1:]), key.ErrUsage},
		{"statement with a subject and a Subject", artifact, statement(`{"Subject":[],` + aStatement[1:]), key.ErrUsage},
		{"statement of another type", artifact, statement(strings.Replace(aStatement, "v1", "v0.1", 1)), key.ErrUsage},
		{"SSHSIG hash", artifact, signRequestBody{Form: FormSSHSIG, Namespace: "file", Hash: "sha384", Digest: make([]byte, 48)}, key.ErrUsage},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := len(h.records())
			_, err := (&remoteKey{c, x.key, ""}).sign(t.Context(), x.body)
			if !errors.Is(err, x.err) {
				t.Errorf("got %v, want %v", err, x.err)
			}
			if n := strings.Count(err.Error(), "sign with"); n != 1 || !strings.HasPrefix(err.Error(), fmt.Sprintf("sign with %q: ", x.key.Ref)) {
				t.Errorf("the key is not named once: %v", err)
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
	if logs := h.logs.String(); !strings.Contains(logs, "not signed") || strings.Contains(logs, "level=WARN") || strings.Contains(logs, "level=ERROR") {
		t.Error("a refusal is the log's news, and not for the terminal of a command that serves itself")
	}
}
