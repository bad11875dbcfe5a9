import type { Attachment } from '../bundle-message.ts';
import type { ErrorCode } from '../errors.ts';

/**
 * What is recorded. A header names facts about an operation and never holds its content: SQL text, parameters, rows,
 * error texts and anything else that an agent or a backend wrote are payload, so that they can be masked and erased.
 * Keys follow OpenTelemetry's semantic conventions where a stable one exists.
 */

/** How a payload is to be read; the transcript of the protocol knows each. */
export type PayloadType =
  | 'json' // UTF-8 JSON of fields that a peer chose, such as startup parameters
  | 'postgres.query' // body of a Query message, without the closing NUL
  | 'postgres.parse' // body of a Parse message
  | 'postgres.bind' // body of a Bind message
  | 'postgres.function-call' // body of a FunctionCall message
  | 'postgres.execute' // body of an Execute of a cursor that SQL declared
  | 'postgres.name' // Describe or Close message of a name that no record gave, as it came
  | 'postgres.copy' // CopyData, CopyDone and CopyFail messages of an agent, as they came
  | 'postgres.messages'; // backend messages as they came; consecutive parts and the result join seamlessly

/** The part of a stream that a part record belongs to. */
export type Channel = 'layout' | 'rows' | 'notice' | 'parameters' | 'message' | 'copy';

/** Why a verdict is what it is; docs/audit-format.md says what each means. */
export const verdictReasons = [
  'default-action', // no rule decided
  'no-policy', // none selects the pod
  'observe', // no policy enforces
  'unreadable', // could not be understood
  'rule', // an Allow rule covers it, or a Deny rule matches
  'not-covered', // there are Allow rules, and they do not cover all of it
  'error', // a rule could not be evaluated
  'opaque', // runs what nobody can read, and no rule names it
  'approval-unavailable', // a rule asks for an approval that nobody can give
  'pinned-setting', // it may change a setting that the gateway has set at login
  'limit', // more than may be used
  'empty', // a text without statements
  'unknown-host', // no Backend has the name or the address, so `unknownHosts` decided
  'ambiguous-host', // more than one Backend may be meant
  'denied-address', // metadata of a cloud, a node, the API server, and no Backend names it
] as const;
/** One of `verdictReasons`. */
export type VerdictReason = (typeof verdictReasons)[number];

/** Verdict of the policies over one operation, as it is recorded. */
export interface RecordedVerdict {
  readonly action: 'Allow' | 'Deny';
  /** What all policies together, observing ones included, would have done. */
  readonly wouldBe: 'Allow' | 'Deny';
  readonly reason: VerdictReason;
  /**
   * `Kind/namespace/name` or `Kind/name` of the policy that decided, absent when none selects the pod. Under `observe` the
   * one that would have.
   */
  readonly policy?: string;
  /** Name of the rule of that policy that decided, where one did. */
  readonly rule?: string;
  /** Digest of the policies in force. */
  readonly revision: string;
}

/** How an operation ended. */
export type OutcomeStatus =
  | 'ok'
  | 'error' // the backend answered with an error
  | 'incomplete' // ended midway: a peer vanished, a kill, a full spool, a limit
  | 'not-executed' // bound and never executed, or skipped after an earlier error
  | 'unknown'; // found without an end after a restart

/** Why a session ended. */
export type EndReason =
  | 'agent-closed'
  | 'agent-vanished'
  | 'backend-closed'
  | 'backend-unreachable'
  | 'backend-login-failed'
  | 'login-timeout'
  | 'protocol-violation'
  | 'unsupported' // what a peer insists on cannot pass, such as channel binding
  | 'token-expired'
  | 'audit-unavailable'
  | 'access-withdrawn'
  | 'limit' // it, or something in it, was longer or more than a policy allows
  | 'killed'
  | 'draining'
  | 'sidecar-killed' // written after a restart, for a session whose process is gone
  | 'internal-error';

/** Who a session belongs to, as it stands in `session.start`. What a token alone can say is absent for a workload. */
export interface RecordedPrincipal {
  readonly kind: 'token' | 'workload';
  readonly user: string;
  readonly groups?: readonly string[];
  readonly provider?: string;
  readonly issuer?: string;
  readonly onBehalfOf?: string;
}

/** Fields that an author of records fills in, by kind. What is undefined is not written. */
export type RecordFields =
  | {
      readonly kind: 'stream.start';
      readonly 'service.version': string;
      readonly 'k8s.pod.name': string;
      readonly 'k8s.namespace.name': string;
      readonly 'service.account': string;
      /** Ed25519 public key of the stream's checkpoints: 32 bytes in lower-case hex. */
      readonly publicKey: string;
      /** The pod's stream before this one, as it was left. */
      readonly previous?: StreamHead | undefined;
    }
  | {
      readonly kind: 'stream.end';
      /** `recovered`: written by the next process, for one that could not end its stream itself. */
      readonly reason: 'stopped' | 'recovered';
    }
  | {
      readonly kind: 'checkpoint';
      /** Link of the record before this one, in lower-case hex. */
      readonly link: string;
      /** Ed25519 over `checkpointText`, in lower-case hex; all zeros where the process ended before it signed. */
      readonly signature: string;
    }
  | {
      readonly kind: 'gap';
      /** First seq of records that are lost or could not be verified. */
      readonly from: number;
      /** The last such seq; absent where it is not known. */
      readonly to?: number | undefined;
      readonly reason: 'damaged' | 'quarantined';
    }
  | {
      readonly kind: 'policy.changed';
      readonly revision: string;
    }
  | {
      readonly kind: 'session.start';
      readonly protocol: 'Postgres' | 'TCP';
      readonly backend: string;
      readonly principal: RecordedPrincipal;
      readonly 'server.address': string;
      readonly 'server.port': number;
      readonly 'client.address': string;
      readonly 'client.port': number;
      /** Of the payload: what the agent asked for at login. */
      readonly payloadType?: PayloadType;
      readonly revision: string;
      /** How far the pod is held to the sidecar: absent where no controller said it. */
      readonly attachment?: Attachment | undefined;
    }
  | {
      readonly kind: 'session.end';
      readonly reason: EndReason;
      /** How many records the session has, this one included; equals `n`. */
      readonly count: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'auth.failed';
      readonly protocol: 'Postgres' | 'TCP';
      readonly backend: string;
      readonly 'client.address': string;
      readonly reason: string;
      /** How many failures this record stands for. */
      readonly attempts: number;
    }
  | {
      /** A name that no Backend has was asked for; the payload says which. Nothing was asked outside before. */
      readonly kind: 'lookup';
      readonly verdict: RecordedVerdict;
      readonly payloadType: PayloadType;
      /** How many this record stands for; its payload is of the last. */
      readonly attempts: number;
    }
  | {
      /**
       * The rules of the pod refused packets that are neither TCP nor DNS. No process of ours sees them; the kernel
       * counts most of them, without saying whose they were or where they went.
       */
      readonly kind: 'packets.refused';
      /** How many since the pod's network began, those of earlier records included. */
      readonly packets: number;
    }
  | {
      /** A message that was refused before it could be judged, or that broke the protocol; nothing of it went up. */
      readonly kind: 'violation';
      readonly code: ErrorCode;
    }
  | {
      readonly kind: 'statement';
      readonly verdict: RecordedVerdict;
      readonly payloadType?: PayloadType | undefined;
      readonly digest?: PayloadDigest | undefined;
    }
  | {
      readonly kind: 'request';
      readonly verdict: RecordedVerdict;
      /** Absent where nothing of the content is in this record, so that an empty content is told from an unknown one. */
      readonly payloadType?: PayloadType | undefined;
      readonly digest?: PayloadDigest | undefined;
      /** For a Bind: seq of the statement record that holds its text. */
      readonly statement?: number | undefined;
      /** Seq of the part record that holds the RowDescription under which the rows are to be read. */
      readonly layout?: number | undefined;
    }
  | {
      readonly kind: 'part';
      readonly direction: 'up' | 'down';
      readonly channel: Channel;
      readonly payloadType: PayloadType;
      /** Of all that went up on the channel, with the request's own beginning; in place of payloads. */
      readonly digest?: PayloadDigest | undefined;
      /** Process id of the backend that serves the session, as the server's own logs name it. */
      readonly backendPid?: number | undefined;
    }
  | {
      readonly kind: 'result';
      readonly status: OutcomeStatus;
      /** SQLSTATE of the error, where the backend sent one; that of the limit that has cut the answer. */
      readonly 'db.response.status_code'?: string | undefined;
      /** The limit that has cut the request short, as policies name it. */
      readonly limit?: string | undefined;
      readonly 'db.response.returned_rows'?: number | undefined;
      readonly bytesUp: number;
      readonly bytesDown: number;
      readonly durationUs: number;
      readonly payloadType?: PayloadType | undefined;
      readonly digest?: PayloadDigest | undefined;
      /** Set when `record.maxBytes` cut the answer short in the record; the agent got all of it. */
      readonly truncated?: true | undefined;
      /** See `request`. */
      readonly layout?: number | undefined;
    };

/** A place in a stream: the seq of a record, and the link there in lower-case hex. */
export interface StreamHead {
  readonly stream: string;
  readonly seq: number;
  readonly link: string;
}

/** Stands in for a payload under `record: Digest`. */
export interface PayloadDigest {
  /** SHA-256 in lower-case hex. */
  readonly sha256: string;
  readonly length: number;
}

/** What the writer adds to every record. */
export interface Envelope {
  readonly v: 1;
  readonly stream: string;
  /** From 1, without a gap. */
  readonly seq: number;
  /** RFC 3339 in UTC with microseconds. */
  readonly time: string;
  /** Nanoseconds on a clock that never goes back, from the start of the process. */
  readonly monoNs: number;
  readonly session?: string;
  /** Number of the record within its session, from 1. */
  readonly n?: number;
  /** Seq of the `request` or `statement` record that a part or result belongs to. */
  readonly request?: number;
  readonly payload?: { readonly length: number; readonly hash: string };
}

/** A record's header as it stands in a frame. */
export type RecordHeader = Envelope & RecordFields;
