package sshsig

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestParseAllowedSignersRefuses(t *testing.T) {
	pub := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(newSigner(t).PublicKey())))
	for text, want := range map[string]string{
		"":                                        "no entry",
		"# nobody\n":                              "no entry",
		"me":                                      "line 1",
		"me " + pub + "\n\nyou":                   "line 3",
		"me cert-authority " + pub:                `"cert-authority" is none that we honour`,
		"me touch-required " + pub:                `"touch-required" is none that we honour`,
		`me valid="1" ` + pub:                     `"valid" is none`,
		`me namespaces=git ` + pub:                "no quoted value",
		`me namespaces="git ` + pub:               "no end quote",
		`me namespaces="git"x ` + pub:             "text behind the value",
		`me namespaces="git", ` + pub:             "is none that we honour",
		`me namespaces="git"`:                     "no key behind the options",
		`me namespaces="" ` + pub:                 "empty pattern",
		`me namespaces="a",namespaces="b" ` + pub: "given twice",
		`me valid-after="20260101Z",valid-after="20260101Z" ` + pub:  "given twice",
		`me valid-after="2026" ` + pub:                               "is not YYYYMMDD",
		`me valid-after="20261301Z" ` + pub:                          "is not YYYYMMDD",
		`me valid-after="19700101Z" ` + pub:                          "is not YYYYMMDD",
		`me valid-after="" ` + pub:                                   "is not YYYYMMDD",
		`me valid-before="20260101Z",valid-after="20260101Z" ` + pub: "valid-before is not after",
		"a,,b " + pub:                      "empty pattern",
		"a,! " + pub:                       "empty pattern",
		`"me ` + pub:                       "no end quote",
		`"me"` + pub:                       "no end quote",
		`m"e" ` + pub:                      "quote in the middle",
		"m\x01e " + pub:                    "control character",
		"me ssh-ed25519":                   "unusable SSH public key",
		"me ssh-dss AAAA":                  "unusable SSH public key",
		"me " + strings.Repeat("#", 1<<20): "at most",
	} {
		if _, err := ParseAllowedSigners([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
	if err := (&AllowedSigners{}).Check(cryptoKey(newSigner(t).PublicKey()), "me", namespace, testTime); err != ErrUnknownPrincipal {
		t.Errorf("empty list: %v", err)
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"20260411Z":       time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC),
		"202604111201Z":   time.Date(2026, 4, 11, 12, 1, 0, 0, time.UTC),
		"20260411120102Z": time.Date(2026, 4, 11, 12, 1, 2, 0, time.UTC),
		"20260411":        time.Date(2026, 4, 11, 0, 0, 0, 0, time.Local),
		"202604111201":    time.Date(2026, 4, 11, 12, 1, 0, 0, time.Local),
	} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
