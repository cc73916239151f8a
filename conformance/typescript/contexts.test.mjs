// Files that images are built from, as the client uploads them.

import assert from 'node:assert/strict'
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Image } from '@daytonaio/sdk'

import { daytona } from './support.mjs'

const upload = (image) => daytona.snapshot.constructor.processImageContext(daytona.objectStorageApi, image)

async function stored(hash) {
  const { data: access } = await daytona.objectStorageApi.getPushAccess()
  const client = new S3Client({
    region: access.region,
    endpoint: access.storageUrl,
    credentials: { accessKeyId: access.accessKey, secretAccessKey: access.secret, sessionToken: access.sessionToken },
    forcePathStyle: true,
  })
  const Key = `${access.organizationId}/${hash}/context.tar`
  const answer = await client.send(new GetObjectCommand({ Bucket: access.bucket, Key }))
  return Buffer.from(await answer.Body.transformToByteArray())
}

test('a folder and a file of an image are uploaded', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'contexts-'))
  try {
    await mkdir(join(folder, 'ctx', 'deep'), { recursive: true })
    await writeFile(join(folder, 'ctx', 'a.txt'), 'content one')
    await writeFile(join(folder, 'ctx', 'deep', 'b.txt'), 'content two')
    // More than one part of 5 MiB.
    const large = Buffer.alloc(12 << 20)
    for (let at = 0; at < large.length; at += 4) large.writeUInt32BE(at, at)
    await writeFile(join(folder, 'large.bin'), large)
    const image = Image.base('busybox')
      .addLocalDir(join(folder, 'ctx'), '/app')
      .addLocalFile(join(folder, 'large.bin'), '/large.bin')
    const hashes = await upload(image)
    assert.equal(hashes.length, 2)
    const [small, big] = await Promise.all(hashes.map(stored))
    assert.ok(small.includes('content one') && small.includes('content two'))
    assert.ok(big.includes(large))
    // What is there already is not uploaded again.
    assert.deepEqual(await upload(image), hashes)
  } finally {
    await rm(folder, { recursive: true })
  }
})
