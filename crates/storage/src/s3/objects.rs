//! Whole objects: written, read, listed, removed.

use async_trait::async_trait;
use axum::body::Body as AnyBody;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, EncodingType, Error as ObjectFailure,
    GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput,
    HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object as Listed, PutObjectInput, PutObjectOutput, Range, StreamingBlob,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::body::{Sums, checked};
use super::failure::failure;
use super::gate::check_owner;
use super::{BUCKET, Operations, Owner, key};
use crate::{ByteRange, List, Object, PutOptions};

/// Entries on a page, where the client does not say, and at most.
const PAGE_MAX: i32 = 1000;

fn owner<T>(request: &S3Request<T>) -> S3Result<String> {
    let owner = request.extensions.get::<Owner>();
    owner
        .map(|owner| owner.0.clone())
        .ok_or_else(|| s3_error!(AccessDenied))
}

pub(super) fn etag(object: &Object) -> ETag {
    ETag::Strong(object.sha256_hex())
}

/// S3 counts with signs.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// # Errors
/// If the object is not the one that the client wants, or is the one that it has.
fn check_conditions(
    object: &Object,
    wanted: Option<&ETagCondition>,
    known: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => tag.value() == object.sha256_hex(),
    };
    if wanted.is_some_and(|wanted| !is(wanted)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if known.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// Whether a write must find nothing there; other conditions are not offered.
pub(super) fn only_new(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<bool> {
    match (if_match, if_none_match) {
        (None, None) => Ok(false),
        (None, Some(ETagCondition::Any)) => Ok(true),
        _ => Err(s3_error!(
            NotImplemented,
            "this condition is not offered here"
        )),
    }
}

fn no_such_key(_: ()) -> S3Error {
    s3_error!(NoSuchKey)
}

#[async_trait]
impl S3 for Operations {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let options = PutOptions {
            content_type: input.content_type,
            metadata: input.metadata.unwrap_or_default().into_iter().collect(),
            only_new: only_new(input.if_match.as_ref(), input.if_none_match.as_ref())?,
            ..PutOptions::default()
        };
        if input.write_offset_bytes.is_some() {
            return Err(s3_error!(NotImplemented, "appending is not offered here"));
        }
        let sums = Sums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            md5: input.content_md5,
            trailing: request.trailing_headers,
        };
        let body = checked(input.body, sums);
        let object = self.store.put(&key(&input.key)?, body, options).await;
        let object = object.map_err(failure)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(etag(&object)),
            size: None,
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        if input.part_number.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "parts of an object are not offered here"
            ));
        }
        let range = input.range.map(|range| match range {
            Range::Int { first, last: None } => ByteRange::From(first),
            Range::Int {
                first,
                last: Some(last),
            } => ByteRange::Between(first, last),
            Range::Suffix { length } => ByteRange::Last(length),
        });
        let content = self.store.get(&key(&input.key)?, range).await;
        let content = content.map_err(failure)?.ok_or(()).map_err(no_such_key)?;
        let object = content.object;
        check_conditions(
            &object,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        let (start, end) = content.range;
        let body = s3s::Body::http_body_unsync(AnyBody::from_stream(content.body));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::from(body)),
            content_length: Some(signed(end - start)),
            content_range: range
                .map(|_| format!("bytes {start}-{}/{}", end.saturating_sub(1), object.size)),
            content_type: object.content_type.clone(),
            e_tag: Some(etag(&object)),
            last_modified: Some(object.modified.into()),
            metadata: Some(object.metadata.into_iter().collect()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        if input.part_number.is_some() || input.range.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "parts of an object are not offered here"
            ));
        }
        let object = self.store.head(&key(&input.key)?).await.map_err(failure)?;
        let object = object.ok_or(()).map_err(no_such_key)?;
        check_conditions(
            &object,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(signed(object.size)),
            content_type: object.content_type.clone(),
            e_tag: Some(etag(&object)),
            last_modified: Some(object.modified.into()),
            metadata: Some(object.metadata.into_iter().collect()),
            ..HeadObjectOutput::default()
        }))
    }

    /// Only of what is below the caller's own name.
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let owner = owner(&request)?;
        let input = request.input;
        let prefix = input.prefix.clone().unwrap_or_default();
        check_owner(&owner, &prefix)?;
        let by_folder = match input.delimiter.as_deref() {
            None | Some("") => false,
            Some("/") => true,
            Some(_) => return Err(s3_error!(NotImplemented, "the only delimiter is a slash")),
        };
        let max = input.max_keys.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
        let after = match &input.continuation_token {
            Some(token) => Some(read_token(token)?),
            None => input.start_after.clone(),
        };
        let list = List {
            prefix,
            after,
            max: usize::try_from(max).unwrap_or(0),
            by_folder,
        };
        let listing = self.store.list(BUCKET, list).await.map_err(failure)?;
        let is_url = input.encoding_type.as_ref().map(EncodingType::as_str) == Some("url");
        let name = |path: &str| {
            if is_url {
                utf8_percent_encode(path, NON_ALPHANUMERIC).to_string()
            } else {
                path.to_owned()
            }
        };
        let contents: Vec<Listed> = listing
            .entries
            .iter()
            .map(|entry| Listed {
                key: Some(name(&entry.path)),
                size: Some(signed(entry.object.size)),
                e_tag: Some(etag(&entry.object)),
                last_modified: Some(entry.object.modified.into()),
                ..Listed::default()
            })
            .collect();
        let folders: Vec<CommonPrefix> = listing
            .folders
            .iter()
            .map(|folder| CommonPrefix {
                prefix: Some(name(folder)),
            })
            .collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix.as_deref().map(name),
            max_keys: Some(max),
            key_count: i32::try_from(contents.len() + folders.len()).ok(),
            is_truncated: Some(listing.next.is_some()),
            next_continuation_token: listing.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
            continuation_token: input.continuation_token,
            start_after: input.start_after,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            contents: Some(contents),
            common_prefixes: Some(folders),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        if request.input.if_match.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "this condition is not offered here"
            ));
        }
        let key = key(&request.input.key)?;
        self.store.delete(&key).await.map_err(failure)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let owner = owner(&request)?;
        let delete = request.input.delete;
        if delete.objects.len() > usize::try_from(PAGE_MAX).unwrap_or(0) {
            return Err(s3_error!(MalformedXML, "too many objects at once"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            let name = object.key;
            let done = match check_owner(&owner, &name).and_then(|()| key(&name)) {
                Ok(key) => self.store.delete(&key).await.map_err(failure),
                Err(refused) => Err(refused),
            };
            match done {
                Ok(_) => deleted.push(DeletedObject {
                    key: Some(name),
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(ObjectFailure {
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    key: Some(name),
                    ..ObjectFailure::default()
                }),
            }
        }
        if delete.quiet == Some(true) {
            deleted.clear();
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn head_bucket(
        &self,
        _: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    /// Nothing is what stands for the region that clients sign for where they know no other.
    async fn get_bucket_location(
        &self,
        _: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin(request.input).await.map(S3Response::new)
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        self.add(request.input, request.trailing_headers)
            .await
            .map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete(request.input).await.map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort(request.input).await.map(S3Response::new)
    }
}

fn read_token(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "this continuation token is none of ours"))
}
