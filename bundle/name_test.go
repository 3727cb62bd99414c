package bundle

import (
	"encoding/asn1"
	"testing"
)

func TestCanonicalName(t *testing.T) {
	oid := func(arcs ...int) string {
		der, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
		if err != nil {
			t.Fatal(err)
		}
		return string(der)
	}
	cn, o := oid(2, 5, 4, 3), oid(2, 5, 4, 10)
	const utf8String, printable, ia5, numeric, bmp, octets = 0x0c, 0x13, 0x16, 0x12, 0x1e, 0x04
	at := func(oid string, tag byte, value string) string { return tlv(0x30, oid, tlv(tag, value)) }
	rdn := func(attributes ...string) string { return tlv(0x31, attributes...) }
	name := func(rdns ...string) string { return tlv(0x30, rdns...) }
	one := func(tag byte, value string) string { return name(rdn(at(cn, tag, value))) }

	for _, c := range []struct {
		what string
		a, b string
		same bool
	}{
		{"string type", one(utf8String, "CA 1"), one(printable, "CA 1"), true},
		{"all string types", one(ia5, "1"), one(numeric, "1"), true},
		{"case", one(utf8String, "Straße ÄΣ"), one(utf8String, "STRAßE äς"), true},
		{"space inside", one(printable, "CA  1"), one(printable, "CA 1"), true},
		{"space outside", one(printable, " CA 1 "), one(printable, "CA 1"), true},
		{"no-break space and tab", one(utf8String, "CA\u00a0\t1"), one(utf8String, "CA 1"), true},
		{"order in an RDN", name(rdn(at(cn, utf8String, "x"), at(o, utf8String, "y"))), name(rdn(at(o, printable, "Y"), at(cn, utf8String, "x"))), true},

		{"no space", one(printable, "CA 1"), one(printable, "CA1"), false},
		{"accent", one(utf8String, "Ca"), one(utf8String, "Ça"), false},
		{"order of RDNs", name(rdn(at(cn, utf8String, "x")), rdn(at(o, utf8String, "y"))), name(rdn(at(o, utf8String, "y")), rdn(at(cn, utf8String, "x"))), false},
		{"one RDN or two", name(rdn(at(cn, utf8String, "x"), at(o, utf8String, "y"))), name(rdn(at(cn, utf8String, "x")), rdn(at(o, utf8String, "y"))), false},
		{"attribute", one(utf8String, "x"), name(rdn(at(o, utf8String, "x"))), false},
		{"attribute twice", one(utf8String, "x"), name(rdn(at(cn, utf8String, "x"), at(cn, utf8String, "x"))), false},
		{"prefix", name(rdn(at(cn, utf8String, "x"))), name(rdn(at(cn, utf8String, "x")), rdn(at(cn, utf8String, "y"))), false},
		{"text like two attributes", name(rdn(at(cn, utf8String, "x\x08\x072.5.4.10sy"))), name(rdn(at(cn, utf8String, "x"), at(o, utf8String, "y"))), false},
		{"string and octets", one(utf8String, "x"), one(octets, "x"), false},
		{"octets keep their case", one(octets, "x"), one(octets, "X"), false},
		{"UTF-16 is not compared as text", one(bmp, "\x00x"), one(bmp, "\x00X"), false},
		{"not UTF-8", one(utf8String, "\xff"), one(printable, "\xff"), false},
		{"empty and nothing", one(utf8String, ""), name(), false},
	} {
		a, errA := canonicalName([]byte(c.a))
		b, errB := canonicalName([]byte(c.b))
		if errA != nil || errB != nil || (a == b) != c.same {
			t.Errorf("%s: %q, %v and %q, %v; want the same: %v", c.what, a, errA, b, errB, c.same)
		}
		if sameName([]byte(c.a), []byte(c.b)) != c.same {
			t.Errorf("%s: sameName is %v", c.what, !c.same)
		}
	}
	for _, bad := range []string{"", "x", tlv(0x30) + "x", tlv(0x30, tlv(0x30))} {
		if got, err := canonicalName([]byte(bad)); err == nil {
			t.Errorf("%x is read as %q", bad, got)
		}
		if sameName([]byte(bad), []byte(one(utf8String, "x"))) || !sameName([]byte(bad), []byte(bad)) {
			t.Errorf("%x is not equal to itself alone", bad)
		}
	}
}
