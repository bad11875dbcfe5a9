import manifest from '../package.json' with { type: 'json' };

/** The release that this is part of. */
export const version: string = manifest.version;
