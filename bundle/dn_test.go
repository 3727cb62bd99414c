package bundle

import (
	"encoding/asn1"
	"testing"
)

// tlv writes DER by hand; all lengths are below 128.
func tlv(tag byte, parts ...string) string {
	var body string
	for _, p := range parts {
		body += p
	}
	return string([]byte{tag, byte(len(body))}) + body
}

func TestDNString(t *testing.T) {
	oid := func(arcs ...int) string {
		der, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
		if err != nil {
			t.Fatal(err)
		}
		return string(der)
	}
	cn, o, c, dc := oid(2, 5, 4, 3), oid(2, 5, 4, 10), oid(2, 5, 4, 6), oid(0, 9, 2342, 19200300, 100, 1, 25)
	const utf8String, printable, ia5, bmp = 0x0c, 0x13, 0x16, 0x1e
	rdn := func(attributes ...string) string { return tlv(0x31, attributes...) }
	at := func(oid string, tag byte, value string) string { return tlv(0x30, oid, tlv(tag, value)) }
	for _, test := range []struct{ der, want string }{
		{tlv(0x30), ""},
		{tlv(0x30, rdn(at(c, printable, "DE")), rdn(at(o, utf8String, "A, B")), rdn(at(cn, ia5, "x"))), `CN=x,O=A\, B,C=DE`},
		{tlv(0x30, rdn(at(cn, printable, "x"), at(c, printable, "TW"), at(o, printable, "y"))), "CN=x+C=TW+O=y"},
		{tlv(0x30, rdn(at(dc, ia5, "example"))), "DC=example"},
		{tlv(0x30, rdn(at(cn, utf8String, ` #a"+,;<>\ `))), `CN=\ #a\"\+\,\;\<\>\\\ `},
		{tlv(0x30, rdn(at(cn, utf8String, "#a #b"))), `CN=\#a #b`},
		{tlv(0x30, rdn(at(cn, utf8String, "é\n\x1b\u202e"))), `CN=é\0A\1B\E2\80\AE`},
		{tlv(0x30, rdn(at(cn, utf8String, "\xff"))), "CN=#0c01ff"},
		{tlv(0x30, rdn(at(cn, bmp, "\x00a"))), "CN=#1e020061"},
		{tlv(0x30, rdn(at(cn, utf8String|0x20, tlv(utf8String, "a")))), "CN=#2c030c0161"}, // in parts, as DER has none
		{tlv(0x30, rdn(at(cn, utf8String|0x20, "a b"))), "CN=#2c03612062"},
		{tlv(0x30, rdn(at(oid(2, 5, 4, 5), printable, "1"))), "2.5.4.5=#130131"},
	} {
		got, err := dnString([]byte(test.der))
		if err != nil || got != test.want {
			t.Errorf("%x: %q, %v; want %q", test.der, got, err, test.want)
		}
		if err := checkPrintable(got); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
	for _, bad := range []string{"", "x", tlv(0x30, "x"), tlv(0x30) + "x", tlv(0x30, tlv(0x30))} {
		if got, err := dnString([]byte(bad)); err == nil {
			t.Errorf("%x is read as %q", bad, got)
		}
	}
}
