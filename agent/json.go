package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/key"
)

// decodeJSON reads the JSON object of a request strictly: UTF-8, no unknown or
// repeated names, names spelt exactly, nothing behind it. Its errors wrap
// [key.ErrUsage].
func decodeJSON(data []byte, into any) error {
	if err := checkJSON(data); err != nil {
		return fmt.Errorf("request body: %w: %w", err, key.ErrUsage)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("request body: %w: %w", err, key.ErrUsage)
	}
	return nil
}

// checkJSON refuses what readers of JSON disagree about: repeated names, other
// encodings, trailing data. Our objects are flat, so nothing may nest.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	first, err := d.Token()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name := t.(string) // the decoder allows nothing else here
		if seen[name] || !plainName(name) {
			return fmt.Errorf("repeated or unknown name %.80q", name)
		}
		seen[name] = true
		if t, err = d.Token(); err != nil {
			return err
		}
		if _, nested := t.(json.Delim); nested || t == nil { // null would leave the field as it was
			return fmt.Errorf("value of %q is an object, an array or null", name)
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data behind the object")
	}
	return nil
}

// plainName allows the names of our own objects. encoding/json would match
// others to them that differ in case.
func plainName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}
