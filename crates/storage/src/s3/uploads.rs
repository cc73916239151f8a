//! Uploads in parts.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3Result, TrailingHeaders, s3_error};

use super::body::{Sums, checked};
use super::failure::failure;
use super::objects::{etag, only_new};
use super::{Operations, key};
use crate::{PutOptions, StorageError, UploadId};

fn upload_id(text: &str) -> S3Result<UploadId> {
    text.parse().map_err(failure)
}

impl Operations {
    pub(super) async fn begin(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let options = PutOptions {
            content_type: input.content_type,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            ..PutOptions::default()
        };
        let id = self.store.upload_begin(&key(&input.key)?, options).await;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id.map_err(failure)?.as_str().to_owned()),
            ..CreateMultipartUploadOutput::default()
        })
    }

    pub(super) async fn add(
        &self,
        input: UploadPartInput,
        trailing: Option<TrailingHeaders>,
    ) -> S3Result<UploadPartOutput> {
        let sums = Sums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            md5: input.content_md5,
            trailing,
        };
        let (key, id) = (key(&input.key)?, upload_id(&input.upload_id)?);
        let number = u32::try_from(input.part_number)
            .map_err(|_| s3_error!(InvalidArgument, "parts are numbered from 1"))?;
        let body = checked(input.body, sums);
        let part = self
            .store
            .upload_part(&key, &id, number, body, PutOptions::default())
            .await
            .map_err(failure)?;
        Ok(UploadPartOutput {
            e_tag: Some(etag(&part.object)),
            ..UploadPartOutput::default()
        })
    }

    pub(super) async fn complete(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let has_sum = input.checksum_crc32.is_some()
            || input.checksum_crc32c.is_some()
            || input.checksum_crc64nvme.is_some()
            || input.checksum_sha1.is_some()
            || input.checksum_sha256.is_some();
        if has_sum {
            return Err(s3_error!(
                NotImplemented,
                "a checksum over all parts is not offered here"
            ));
        }
        let (key, id) = (key(&input.key)?, upload_id(&input.upload_id)?);
        let listed = input.multipart_upload.and_then(|upload| upload.parts);
        let mut parts = Vec::new();
        for part in listed.unwrap_or_default() {
            let number = part.part_number.and_then(|number| number.try_into().ok());
            let number = number.ok_or_else(|| s3_error!(InvalidPart))?;
            let mut sha256 = [0; 32];
            part.e_tag
                .filter(|tag| hex::decode_to_slice(tag.value(), &mut sha256).is_ok())
                .ok_or_else(|| failure(StorageError::BadPart { number }))?;
            parts.push((number, sha256));
        }
        if parts.is_empty() {
            return Err(s3_error!(MalformedXML, "an upload has at least one part"));
        }
        let options = PutOptions {
            only_new: only_new(input.if_match.as_ref(), input.if_none_match.as_ref())?,
            ..PutOptions::default()
        };
        let object = self
            .store
            .upload_finish(&key, &id, &key, &parts, options)
            .await
            .map_err(failure)?;
        Ok(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&object)),
            ..CompleteMultipartUploadOutput::default()
        })
    }

    pub(super) async fn abort(
        &self,
        input: AbortMultipartUploadInput,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let (key, id) = (key(&input.key)?, upload_id(&input.upload_id)?);
        self.store.upload_abort(&key, &id).await.map_err(failure)?;
        Ok(AbortMultipartUploadOutput::default())
    }
}
