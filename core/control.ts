/**
 * Messages between a supervisor and the process it starts, one JSON object a line, over the duplex pipe that the child
 * finds as file descriptor 3. Secrets travel here because a pipe, unlike an argument, an environment or a file, cannot
 * be read by others. When the pipe closes the supervisor is gone, and the child stops as on SIGTERM.
 */

/** The file descriptor of the control pipe in the child. */
export const controlFd = 3;

/** A TLS server's key and certificate, PEM. */
export interface ServerKeyPair {
  readonly key: string;
  readonly cert: string;
}

/** First and only line that a sidecar is sent. */
export interface SidecarSecrets {
  readonly type: 'secrets';
  readonly tls: ServerKeyPair;
  /** Bearer token for `POST /v1/records`. */
  readonly ingestToken: string;
  /** By the name that a Backend's `credential.secretRef` gives. */
  readonly credentials: Readonly<Record<string, BackendCredential>>;
}

/** A login at a backend, by the type that a Backend's `credential` names. Certificate and key are PEM. */
export type BackendCredential =
  | { readonly type: 'Password'; readonly username: string; readonly password: string }
  | {
      readonly type: 'ClientCertificate';
      readonly username: string;
      readonly certificate: string;
      readonly key: string;
    };

/** First and only line that a collector is sent. */
export interface CollectorSecrets {
  readonly type: 'secrets';
  readonly tls: ServerKeyPair;
  readonly store: {
    /** Address, or the directory of a Unix socket. */
    readonly host: string;
    readonly port: number;
    readonly user: string;
    readonly password: string;
    readonly database: string;
  };
  /** Who may write, and as which pod: what a token review answers in a cluster. */
  readonly writers: readonly { readonly token: string; readonly identity: WriterIdentity }[];
  readonly readToken: string;
  /** For erasures and legal holds; it neither reads nor writes records. */
  readonly operatorToken: string;
}

/** The pod that records come from. */
export interface WriterIdentity {
  readonly pod: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** A mistake in a resource file. */
export interface ResourceProblem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** Path of the field within its resource, such as `spec.record.maxBytes`. */
  readonly path: string;
  readonly message: string;
}

/** What a sidecar reports. */
export type SidecarReport =
  | { readonly type: 'ready'; readonly metricsUrl: string }
  | {
      readonly type: 'listening';
      readonly backends: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
    }
  | { readonly type: 'bundle-accepted'; readonly revision: string }
  | { readonly type: 'bundle-refused'; readonly problems: readonly ResourceProblem[] }
  | { readonly type: 'failed'; readonly message: string };

/** What a collector reports. */
export type CollectorReport =
  | { readonly type: 'ready'; readonly url: string; readonly metricsUrl: string }
  | { readonly type: 'failed'; readonly message: string };
