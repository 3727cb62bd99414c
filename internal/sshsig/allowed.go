package sshsig

import (
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// The reasons for which [AllowedSigners.Check] says no.
var (
	ErrUnknownPrincipal = errors.New("no allowed signer has this identity")
	ErrKeyNotAllowed    = errors.New("key is not one of the identity's keys")
	ErrNamespace        = errors.New("key is not allowed in this namespace")
	ErrNotYetValid      = errors.New("key is not valid yet")
	ErrExpired          = errors.New("key has expired")
)

// AllowedSigners is an allowed signers file (ssh-keygen(1), ALLOWED SIGNERS).
// The zero value allows nobody.
type AllowedSigners struct {
	entries []entry
}

// entry is one line. A zero time and an empty namespaces set no bound.
type entry struct {
	principals  string // pattern list
	namespaces  string // pattern list
	validAfter  time.Time
	validBefore time.Time
	key         ssh.PublicKey
}

// ParseAllowedSigners reads an allowed signers file: lines of principals,
// options, key type and base64 key. It honours the options namespaces,
// valid-after and valid-before and refuses every other, cert-authority included,
// as well as a file without any entry. Times without Z are in the system's time
// zone, as in ssh-keygen. Errors name the line.
func ParseAllowedSigners(data []byte) (*AllowedSigners, error) {
	if len(data) > limits.AllowedSigners {
		return nil, fmt.Errorf("allowed signers of %d bytes, at most %d", len(data), limits.AllowedSigners)
	}
	a := &AllowedSigners{}
	for number, line := range lines(data) {
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("allowed signers line %d: %w", number, err)
		}
		a.entries = append(a.entries, e)
	}
	if len(a.entries) == 0 {
		return nil, errors.New("allowed signers: no entry")
	}
	return a, nil
}

// Check says whether a signature by key, in the namespace and made (or looked
// at) at a time, counts as one of principal's. One entry must agree to
// everything. Otherwise the error is the reason of the entry that came closest:
// [ErrUnknownPrincipal], [ErrKeyNotAllowed], [ErrNamespace], [ErrNotYetValid] or
// [ErrExpired].
func (a *AllowedSigners) Check(key crypto.PublicKey, principal, namespace string, at time.Time) error {
	k, err := ssh.NewPublicKey(key)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	// In the order of the checks, so that the furthest one wins.
	reasons := []error{ErrUnknownPrincipal, ErrKeyNotAllowed, ErrNamespace, ErrNotYetValid, ErrExpired}
	furthest := 0
	for _, e := range a.entries {
		passed := e.passed(k, principal, namespace, at)
		if passed == len(reasons) {
			return nil
		}
		furthest = max(furthest, passed)
	}
	return reasons[furthest]
}

// passed counts the checks of an entry that succeed before one fails.
func (e *entry) passed(k ssh.PublicKey, principal, namespace string, at time.Time) int {
	switch {
	case !matchList(e.principals, principal):
		return 0
	case string(e.key.Marshal()) != string(k.Marshal()):
		return 1
	case e.namespaces != "" && !matchList(e.namespaces, namespace):
		return 2
	case !e.validAfter.IsZero() && at.Before(e.validAfter):
		return 3
	case !e.validBefore.IsZero() && at.After(e.validBefore):
		return 4
	}
	return 5
}

// Keys lists the keys of a principal, each once, whatever their namespaces and
// times: a way to find candidates, not to accept them.
func (a *AllowedSigners) Keys(principal string) []crypto.PublicKey {
	var keys []crypto.PublicKey
	seen := map[string]bool{}
	for _, e := range a.entries {
		if blob := string(e.key.Marshal()); matchList(e.principals, principal) && !seen[blob] {
			seen[blob] = true
			keys = append(keys, cryptoKey(e.key))
		}
	}
	return keys
}

func parseEntry(line string) (entry, error) {
	var e entry
	rest, err := e.cutPrincipals(line)
	if err != nil {
		return entry{}, err
	}
	if !isKeyType(rest) {
		if rest, err = e.cutOptions(rest); err != nil {
			return entry{}, err
		}
	}
	if e.key, err = parseTextKey(rest); err != nil {
		return entry{}, err
	}
	if !e.validAfter.IsZero() && !e.validBefore.IsZero() && !e.validAfter.Before(e.validBefore) {
		return entry{}, errors.New("valid-before is not after valid-after")
	}
	return e, nil
}

// isKeyType tells a line's key from its options.
func isKeyType(text string) bool {
	return strings.HasPrefix(text, "ssh-") || strings.HasPrefix(text, "ecdsa-") || strings.HasPrefix(text, "sk-")
}

// cutPrincipals reads the first field, which may stand in double quotes.
func (e *entry) cutPrincipals(line string) (rest string, err error) {
	if quoted, found := strings.CutPrefix(line, `"`); found {
		e.principals, rest, found = strings.Cut(quoted, `"`)
		if !found || rest == "" || !blank(rest[0]) {
			return "", errors.New("principals: no end quote")
		}
		rest = strings.TrimLeft(rest, " \t")
	} else if e.principals, rest = cutField(line); strings.Contains(e.principals, `"`) {
		return "", errors.New("principals: quote in the middle")
	}
	if err := checkList(e.principals); err != nil {
		return "", fmt.Errorf("principals: %w", err)
	}
	return rest, nil
}

// cutOptions reads NAME="VALUE" pairs, joined by commas, up to a blank.
func (e *entry) cutOptions(text string) (rest string, err error) {
	for {
		i := strings.IndexAny(text, "=, \t")
		if i < 0 {
			return "", fmt.Errorf("%.40q is neither an option nor a key", text)
		}
		name := strings.ToLower(text[:i])
		set := e.option(name)
		if set == nil {
			return "", fmt.Errorf("option %.40q is none that we honour (namespaces, valid-after, valid-before)", name)
		}
		value, tail, err := cutQuoted(text[i:])
		if err == nil {
			err = set(value)
		}
		if err != nil {
			return "", fmt.Errorf("option %.40q: %w", name, err)
		}
		switch {
		case tail == "":
			return "", errors.New("no key behind the options")
		case blank(tail[0]):
			return strings.TrimLeft(tail, " \t"), nil
		case tail[0] != ',':
			return "", fmt.Errorf("option %.40q: text behind the value", name)
		}
		text = tail[1:]
	}
}

// cutQuoted reads = and a value in double quotes, in which \" stands for a
// quote.
func cutQuoted(text string) (value, rest string, err error) {
	text, found := strings.CutPrefix(text, `="`)
	if !found {
		return "", "", errors.New("no quoted value")
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), text[i+1:], nil
		case strings.HasPrefix(text[i:], `\"`):
			i++
		}
		b.WriteByte(text[i])
	}
	return "", "", errors.New("no end quote")
}

// option finds what sets an option; nil for the ones that we do not honour.
func (e *entry) option(name string) func(value string) error {
	switch name {
	case "namespaces":
		return e.setNamespaces
	case "valid-after":
		return func(value string) error { return setTime(&e.validAfter, value) }
	case "valid-before":
		return func(value string) error { return setTime(&e.validBefore, value) }
	}
	return nil
}

func (e *entry) setNamespaces(list string) error {
	if e.namespaces != "" {
		return errors.New("given twice")
	}
	e.namespaces = list
	return checkList(list)
}

func setTime(t *time.Time, text string) (err error) {
	if !t.IsZero() {
		return errors.New("given twice")
	}
	*t, err = parseTime(text)
	return err
}

// parseTime reads YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z].
func parseTime(text string) (time.Time, error) {
	digits, utc := strings.CutSuffix(text, "Z")
	layouts := map[int]string{8: "20060102", 12: "200601021504", 14: "20060102150405"}
	location := time.Local
	if utc {
		location = time.UTC
	}
	t, err := time.ParseInLocation(layouts[len(digits)], digits, location)
	if err != nil || t.Unix() <= 0 {
		return time.Time{}, fmt.Errorf("time %.40q is not YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]", text)
	}
	return t, nil
}
