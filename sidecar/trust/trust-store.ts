import { X509Certificate } from 'node:crypto';
import { ContentInfo, id_data } from '@peculiar/asn1-cms';
import {
  AuthenticatedSafe,
  CertBag,
  id_certBag,
  id_x509Certificate,
  PFX,
  PKCS12Attribute,
  SafeBag,
  SafeContents,
} from '@peculiar/asn1-pfx';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';

/** Java takes a certificate of a PKCS #12 store for trusted only with this attribute, whose value is what for. */
const trustedKeyUsage = '2.16.840.1.113894.746875.1.1';
const anyExtendedKeyUsage = Uint8Array.of(0x06, 0x04, 0x55, 0x1d, 0x25, 0x00); // DER of 2.5.29.37.0

/**
 * Packs certificates, PEM, into a PKCS #12 trust store (RFC 7292) as Java reads it with any password. It holds nothing
 * secret, and is neither encrypted nor signed.
 */
export async function createTrustStore(certificates: readonly string[]): Promise<Uint8Array> {
  const bags = certificates.map((pem) => {
    const der = new X509Certificate(pem).raw;
    const bag = new CertBag({ certId: id_x509Certificate, certValue: octets(der) });
    const trusted = new PKCS12Attribute(); // its constructor of 2.11 takes nothing over
    trusted.attrId = trustedKeyUsage;
    trusted.attrValues = [bufferOf(anyExtendedKeyUsage)];
    return new SafeBag({
      bagId: id_certBag,
      bagValue: AsnConvert.serialize(bag),
      bagAttributes: [trusted],
    });
  });
  const safe = new AuthenticatedSafe([data(AsnConvert.serialize(new SafeContents(bags)))]);
  const store = new PFX({ version: 3, authSafe: data(AsnConvert.serialize(safe)) });
  Reflect.deleteProperty(store, 'macData'); // optional in the format, and here an empty one unless it is taken away
  return new Uint8Array(AsnConvert.serialize(store));
}

function data(content: ArrayBuffer): ContentInfo {
  return new ContentInfo({ contentType: id_data, content: octets(new Uint8Array(content)) });
}

function octets(bytes: Uint8Array): ArrayBuffer {
  return AsnConvert.serialize(new OctetString(bufferOf(bytes)));
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}
