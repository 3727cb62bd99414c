// Package oci makes reproducible container images, moves them to registries and
// folders, and attaches artifacts to them. It knows nothing of signing: a
// signature is an artifact of a given type.
//
// [Build] makes an image: the same files and options give the same digest on
// every machine, for one version of the compressor; the uncompressed layers
// (diff IDs) are the same whatever the compressor. An [Image] is written to an
// OCI layout with [WriteLayout] or to a registry with [Client.Push].
//
// [Client.Resolve] turns a reference into a [Subject]: a manifest by digest. From
// then on only the digest counts; tags are never looked at twice.
// [Client.Attach] attaches an artifact to a subject as an OCI 1.1 referrer, and
// [Client.Attached] yields what is attached.
//
// # Trust
//
// The files and options of [Build] are the caller's own. Everything that a
// registry answers is hostile: sizes, counts, times and redirects are bounded,
// manifests are parsed strictly, and every digest is computed again. Who controls
// a registry can refuse service, hide artifacts or images, and say which image a
// tag means; it cannot make an image or artifact pass under another digest, exhaust
// memory, or receive credentials meant for another host.
//
// Everybody who may push can attach, so whether an artifact means anything is for
// the caller to verify. A bad artifact hides no good one. Who attaches thousands
// makes [Client.Attached] slow: when not all can be opened in the time for a call, a
// good one is found only by luck, anew at each call; and beyond
// [limits.OCIReferrers] it depends on the registry's order whether it is listed at
// all. On a registry without the referrers API he can take any artifact off the
// list.
//
// Credentials come from the user's container configuration
// (~/.docker/config.json and the credential helpers that it names). Plain HTTP is
// spoken only to loopback registries.
package oci
