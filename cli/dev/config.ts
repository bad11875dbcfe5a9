/** The environment that children get a few names of; no setting of ours comes from it. */
export function readEnvironment(): Readonly<Record<string, string | undefined>> {
  // eslint-disable-next-line node/no-process-env
  return process.env;
}
