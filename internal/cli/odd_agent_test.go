package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// oddAgent serves answers, by their paths, on a control socket.
func oddAgent(t *testing.T, answers map[string]string) (socket string) {
	t.Helper()
	socket = filepath.Join(testenv.SocketDir(t), "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answers[r.URL.Path])
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket
}

// TestOddAgent: what goes to others is looked at before it is written.
func TestOddAgent(t *testing.T) {
	t.Setenv("SEALSMITH_TPM", "")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	challenge := filepath.Join(t.TempDir(), "challenge")
	if err := os.WriteFile(challenge, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	const point = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==" // the base point of P-256
	der, err := base64.StdEncoding.DecodeString(point)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%x", sha256.Sum256(der))
	for name, c := range map[string]struct{ answer, command, want string }{
		"no evidence":     {`{"device":"d"}`, "key attest k", "the agent's evidence: "},
		"cut evidence":    {`{"evidence":"eyI="}`, "key attest k", "the agent's evidence: "},
		"no answer":       {`{}`, "tpm answer " + challenge, "the agent's answer: "},
		"cut answer":      {`{"answer":"eyI="}`, "tpm answer " + challenge, "the agent's answer: "},
		"no storage key":  {`{"device":"d","storage":{}}`, "tpm srk", "storage key of d: "},
		"no public key":   {`{"device":"d","storage":{"name":"000b","public":"AAAA"}}`, "tpm srk", "storage key of d: "},
		"some public key": {`{"device":"d","storage":{"name":"000b","public":"` + point + `"}}`, "tpm srk", "another Name than"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := oddAgent(t, map[string]string{
				"/v1/status":                 `{"api":1,"version":"v","pid":1,"device":"d"}`,
				"/v1/device/answer":          c.answer,
				"/v1/device/storage":         c.answer,
				"/v1/keys":                   `{"keys":[{"id":"` + id + `","ref":"tpm/k","usage":"ssh","algorithm":"p256","comment":"k","public":"` + point + `"}],"errors":[]}`,
				"/v1/keys/" + id + "/attest": c.answer,
			})
			var out, errs bytes.Buffer
			status := Main(t.Context(), append(strings.Fields(c.command), "--socket", socket), Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
			if status != exitFailed || out.Len() != 0 || !strings.Contains(errs.String(), c.want) {
				t.Errorf("status %d, printed %q and %q", status, &out, &errs)
			}
		})
	}
}
