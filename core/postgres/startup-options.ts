/**
 * Returns the settings that `options` of a startup packet change, in lower case (pg_split_opts and
 * process_postgres_switches of PostgreSQL): `-c name=value`, `-cname=value` and `--name=value`. Undefined where it holds
 * anything else, whose effect is not known.
 */
export function trySettingsOfOptions(options: string): readonly string[] | undefined {
  const words = splitWords(options);
  const names: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    let setting: string | undefined;
    if (word === '-c') {
      at += 1;
      setting = words[at];
    } else if (word.startsWith('--')) setting = word.slice(2);
    else if (word.startsWith('-c')) setting = word.slice(2);
    const end = setting?.indexOf('=') ?? -1;
    if (setting === undefined || end < 1) return undefined;
    names.push(setting.slice(0, end).replaceAll('-', '_').toLowerCase());
  }
  return names;
}

/** Words are parted by white space; a backslash keeps the character behind it. */
function splitWords(options: string): readonly string[] {
  const found = options.matchAll(/(?:\\[^]|[^\\\s])+|\\$/g);
  return Array.from(found, ([word]) => word.replaceAll(/\\([^]?)/g, '$1'));
}
