package bundle

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// eachBlock gives add the content of each PEM block of a file, of which all must be
// of one kind; there may be lines of text between them. Unlike encoding/pem it
// overlooks nothing that has dashes: a damaged block is an error, not a missing one.
// A block has at most limit characters.
func eachBlock(data, kind string, limit int, add func(der []byte) error) error {
	var body strings.Builder
	begun, number, blocks := 0, 0, 0 // begun: the line of the block's beginning
	for line := range strings.Lines(data) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case line == pemBegin+kind+"-----" && begun == 0:
			begun = number
			body.Reset()
		case line == "-----END "+kind+"-----" && begun != 0:
			der, err := decodeBlock(body.String(), limit)
			if err == nil {
				err = add(der)
			}
			if err != nil {
				return fmt.Errorf("%s that begins in line %d: %w", blockNames[kind], begun, err)
			}
			begun = 0
			blocks++
		case strings.Contains(line, "-----"):
			return fmt.Errorf("line %d is %s, where only whole PEM blocks of %ss may be", number, quote(line), blockNames[kind])
		case begun != 0:
			body.WriteString(line)
		}
	}
	switch {
	case begun != 0:
		return fmt.Errorf("the %s that begins in line %d has no end", blockNames[kind], begun)
	case blocks == 0:
		return fmt.Errorf("no PEM block of a %s in it", blockNames[kind])
	}
	return nil
}

// blockNames are the kinds of blocks, in words.
var blockNames = map[string]string{"CERTIFICATE": "certificate", "X509 CRL": "revocation list"}

func decodeBlock(body string, limit int) ([]byte, error) {
	if len(body) > limit {
		return nil, fmt.Errorf("it has more than %d characters", limit)
	}
	return base64.StdEncoding.Strict().DecodeString(body)
}
