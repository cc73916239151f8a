//! Bodies on their way in, held against what the client says of them.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use s3s::TrailingHeaders;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;

use crate::Body;

/// What a client says of a body: any of the checksums that S3 knows, before it or behind it.
#[derive(Default)]
pub(super) struct Sums {
    pub crc32: Option<String>,
    pub crc32c: Option<String>,
    pub crc64nvme: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
    pub md5: Option<String>,
    /// Where those come in that stand behind the body.
    pub trailing: Option<TrailingHeaders>,
}

/// Names of trailing checksums, as they are announced.
const TRAILING: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

struct Checked {
    body: StreamingBlob,
    sums: Sums,
    hasher: ChecksumHasher,
    md5: Option<Md5>,
    is_over: bool,
}

/// The body as it comes, with an error at its end if it is not what the client says.
pub(super) fn checked(body: Option<StreamingBlob>, sums: Sums) -> Body {
    let Some(body) = body else {
        return stream::empty().boxed();
    };
    let is_trailing = sums.trailing.is_some();
    let wants = |sum: &Option<String>| is_trailing || sum.is_some();
    let hasher = ChecksumHasher {
        crc32: wants(&sums.crc32).then(Default::default),
        crc32c: wants(&sums.crc32c).then(Default::default),
        crc64nvme: wants(&sums.crc64nvme).then(Default::default),
        sha1: wants(&sums.sha1).then(s3s::crypto::Sha1::new),
        sha256: wants(&sums.sha256).then(s3s::crypto::Sha256::new),
    };
    let checked = Checked {
        body,
        md5: sums.md5.is_some().then(Md5::new),
        sums,
        hasher,
        is_over: false,
    };
    stream::unfold(checked, |mut checked| async move {
        if checked.is_over {
            return None;
        }
        match checked.body.next().await {
            Some(Ok(bytes)) => {
                checked.hasher.update(&bytes);
                if let Some(md5) = &mut checked.md5 {
                    md5.update(&bytes);
                }
                Some((Ok(bytes), checked))
            }
            Some(Err(error)) => {
                checked.is_over = true;
                Some((Err(io::Error::other(error)), checked))
            }
            None => {
                let (hasher, md5) = (std::mem::take(&mut checked.hasher), checked.md5.take());
                checked.is_over = true;
                let is_good = is_what_was_said(&checked.sums, hasher, md5);
                (!is_good).then(|| (Err(io::ErrorKind::InvalidData.into()), checked))
            }
        }
    })
    .boxed()
}

fn is_what_was_said(sums: &Sums, hasher: ChecksumHasher, md5: Option<Md5>) -> bool {
    let found = hasher.finalize();
    let found = [
        found.checksum_crc32,
        found.checksum_crc32c,
        found.checksum_crc64nvme,
        found.checksum_sha1,
        found.checksum_sha256,
    ];
    let said = [
        &sums.crc32,
        &sums.crc32c,
        &sums.crc64nvme,
        &sums.sha1,
        &sums.sha256,
    ];
    let before = said
        .iter()
        .zip(&found)
        .all(|(said, found)| said.is_none() || *said == found);
    let behind = sums.trailing.as_ref().and_then(|trailing| {
        trailing.read(|headers| {
            TRAILING.iter().zip(&found).all(|(name, found)| {
                headers.get(*name).is_none_or(|said| {
                    found
                        .as_ref()
                        .is_some_and(|found| said.as_bytes() == found.as_bytes())
                })
            })
        })
    });
    let md5 = md5.map(|md5| STANDARD.encode(md5.finalize()));
    before && behind.unwrap_or(true) && sums.md5 == md5
}
