// Package bundle builds and reads TPM CA bundles: the root and intermediate
// certificates under which TPM vendors issue endorsement-key certificates, as
// PEM files that have the same bytes whoever builds them.
//
// A [Catalog] lists where each certificate is published and the digests it must
// have. A [Fetcher] gets the certificates from a [Store] or from the vendors,
// [Vet] judges them, [Build] makes a [Bundle] of them, and [Release] does all of
// it. [Parse] reads a bundle back. The formats are in docs/spec. [Anchors] are what
// bundles are for: they verify EK certificates. [Find], [OfVendors] and [Pools] give
// programs some of the certificates of bundles. [Diff] says what changed between
// bundles and [Graph] who issued whom; ExportPEM and its like write other formats.
//
// # Trust
//
// The catalog decides which certificates are right, by digest; who writes it
// owns the result. Everything else is hostile. A vendor's site, or who stands
// before it, can make a build fail and can name a file that it was asked for,
// but cannot put another certificate in: bytes count only when all their pinned
// digests match. It costs at most 64 KiB of memory a request, as much again before we
// read it, and a bounded time. A store is checked in the same way, so who can write to
// it can only make a build fail. What a site serves in place of a certificate may be
// kept below the store, up to a number of files, and is never built from.
//
// Bundles and checksum files are parsed whole, against the one encoding they can have.
// Their signatures are not checked here: who can replace a bundle and its checksums is
// found out by package verify.
//
// An EK certificate, and the certificates that come with it, are hostile too. They
// can cost a bounded number of signature checks. So are revocation lists: who can
// leave one out keeps a revocation from being seen, which the report says, and nobody
// but the CA can add an entry. Who can add a root to the files that [ParseAnchors] is
// given can vouch for any key.
package bundle
