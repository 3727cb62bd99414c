package key

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
)

// points begin the SubjectPublicKeyInfo of keys on a curve (RFC 5480, section 2); the
// point is the rest.
var points = map[elliptic.Curve]string{
	elliptic.P256(): "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
	elliptic.P384(): "\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
	elliptic.P521(): "\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00",
}

// encodePublic is [x509.MarshalPKIXPublicKey]. An agent computes the ID of a key for
// each request, and for hundreds of them that encoding by reflection doubled their
// stacks.
func encodePublic(pub crypto.PublicKey) ([]byte, error) {
	ec, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return x509.MarshalPKIXPublicKey(pub)
	}
	begin, ok := points[ec.Curve]
	if !ok {
		return x509.MarshalPKIXPublicKey(pub)
	}
	point, err := ec.Bytes()
	return append([]byte(begin), point...), err
}
