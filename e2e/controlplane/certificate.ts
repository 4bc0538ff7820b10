/** Client certificates for tests, made without openssl: self-signed, so that each is an authority of its own. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';

/** Both as PEM. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

// DER, as much as a certificate without extensions needs (RFC 5280, 4.1): it may be used for anything.
const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
/** 2.5.4.3, encoded. */
const COMMON_NAME = Buffer.from('0603550403', 'hex');
/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2, as an algorithm identifier. */
const ECDSA_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  // The shortest form, or it is not DER.
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/**
 * A new key pair and its certificate, valid from 2020 to 2049. An API server whose client CA file has the certificate
 * takes its bearer for the user `commonName`.
 */
export function selfSignedCertificate(commonName: string): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from(commonName)))));
  const time = (text: string): Buffer => der(UTC_TIME, Buffer.from(text));
  const content = der(
    SEQUENCE,
    // The first byte makes it positive.
    der(INTEGER, Buffer.from([1]), randomBytes(15)),
    ECDSA_SHA256,
    name,
    der(SEQUENCE, time('200101000000Z'), time('491231235959Z')),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
  );
  const signature = der(BIT_STRING, Buffer.from([0]), sign('sha256', content, privateKey));
  return {
    certificate: pem('CERTIFICATE', der(SEQUENCE, content, ECDSA_SHA256, signature)),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
