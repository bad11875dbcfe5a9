import { changeSettings, transactionModes } from './survey-settings.ts';
import type { Handlers, StatementHandler } from './survey-walker.ts';
import { type Fields, childOf, listOf, textOf, tryKind, tryString } from './tree.ts';

/** Statements about the session: settings, transactions, prepared statements, cursors. */
export const sessionStatements: Handlers<StatementHandler> = {
  VariableSetStmt(fields, _, { draft }) {
    draft.command(textOf(fields, 'kind')?.startsWith('VAR_RESET') ? 'RESET' : 'SET');
    changeSettings(fields, draft);
  },

  VariableShowStmt: nothingMore('SHOW'),

  AlterRoleSetStmt: setsElsewhere('ALTER ROLE'),
  AlterDatabaseSetStmt: setsElsewhere('ALTER DATABASE'),
  AlterSystemStmt(fields, scope, walker) {
    setsElsewhere('ALTER SYSTEM')(fields, scope, walker);
    walker.draft.opaque(); // commands for a shell are among its settings, and it reaches every session
  },

  TransactionStmt(fields, _, { draft }) {
    const kind = textOf(fields, 'kind') ?? '';
    const { tag, reverts = false, changes = false } = transactions.get(kind) ?? {};
    draft.command(tag ?? kind);
    transactionModes(listOf(fields, 'options'), '', draft);
    if (reverts) draft.changesMeaning(); // settings become what they were before
    if (changes) draft.readOnly = false;
    if (kind === 'TRANS_STMT_COMMIT_PREPARED') draft.defines(); // of whatever was prepared
  },

  ConstraintsSetStmt: nothingMore('SET CONSTRAINTS'),

  DiscardStmt(fields, _, { draft }) {
    const target = textOf(fields, 'target') ?? '';
    draft.command('DISCARD');
    draft.changesMeaning();
    const isAll = target === 'DISCARD_ALL';
    if (isAll) draft.deallocates = 'all';
    if (isAll) draft.setting('*');
    if (isAll || target === 'DISCARD_TEMP') draft.defines(); // temporary tables go
  },

  PrepareStmt(fields, scope, walker) {
    const { draft } = walker;
    draft.command('PREPARE');
    draft.planOnly(() => walker.statement(fields['query'], scope));
    draft.prepares = {
      name: textOf(fields, 'name') ?? '',
      statement: walker.survey(fields['query']),
    };
  },

  ExecuteStmt(fields, scope, walker) {
    const { draft } = walker;
    draft.command('EXECUTE');
    draft.executes = textOf(fields, 'name') ?? '';
    draft.readOnly = false; // what it runs says more
    walker.walk(fields['params'], scope);
  },

  DeallocateStmt(fields, _, { draft }) {
    draft.command('DEALLOCATE');
    const name = textOf(fields, 'name');
    draft.deallocates = name === undefined || fields['isall'] === true ? 'all' : { name };
  },

  DeclareCursorStmt(fields, scope, walker) {
    walker.draft.command('DECLARE CURSOR');
    walker.statement(fields['query'], scope);
  },

  FetchStmt(fields, _, { draft }) {
    draft.command(fields['ismove'] === true ? 'MOVE' : 'FETCH');
  },

  ClosePortalStmt: nothingMore('CLOSE'),

  ExplainStmt(fields, scope, walker) {
    walker.draft.command('EXPLAIN');
    const explain = (): void => walker.statement(fields['query'], scope);
    if (isAnalyzed(listOf(fields, 'options'))) explain();
    else walker.draft.planOnly(explain);
  },

  ListenStmt: nothingMore('LISTEN'),
  UnlistenStmt: nothingMore('UNLISTEN'),

  NotifyStmt(_fields, _scope, { draft }) {
    draft.command('NOTIFY');
    draft.readOnly = false;
  },

  LoadStmt(_fields, _scope, { draft }) {
    draft.command('LOAD');
    draft.opaque(); // code of any kind is part of the session from then on
  },

  CheckPointStmt(_fields, _scope, { draft }) {
    draft.command('CHECKPOINT');
    draft.readOnly = false;
  },
};

interface TransactionMeaning {
  readonly tag: string;
  readonly reverts?: boolean;
  readonly changes?: boolean;
}

const transactions: ReadonlyMap<string, TransactionMeaning> = new Map([
  ['TRANS_STMT_BEGIN', { tag: 'BEGIN' }],
  ['TRANS_STMT_START', { tag: 'START TRANSACTION' }],
  ['TRANS_STMT_COMMIT', { tag: 'COMMIT', reverts: true }],
  ['TRANS_STMT_ROLLBACK', { tag: 'ROLLBACK', reverts: true }],
  ['TRANS_STMT_SAVEPOINT', { tag: 'SAVEPOINT' }],
  ['TRANS_STMT_RELEASE', { tag: 'RELEASE' }],
  ['TRANS_STMT_ROLLBACK_TO', { tag: 'ROLLBACK', reverts: true }],
  ['TRANS_STMT_PREPARE', { tag: 'PREPARE TRANSACTION', reverts: true, changes: true }],
  ['TRANS_STMT_COMMIT_PREPARED', { tag: 'COMMIT PREPARED', changes: true }],
  ['TRANS_STMT_ROLLBACK_PREPARED', { tag: 'ROLLBACK PREPARED', changes: true }],
]);

function nothingMore(tag: string): StatementHandler {
  return (_fields, _scope, { draft }) => draft.command(tag);
}

function setsElsewhere(tag: string): StatementHandler {
  return (fields, _, { draft }) => {
    draft.command(tag);
    draft.readOnly = false;
    changeSettings(childOf(fields, 'setstmt') ?? {}, draft);
  };
}

/** Whether EXPLAIN runs what it explains: the last option counts, and in doubt it runs. */
function isAnalyzed(options: readonly unknown[]): boolean {
  const analyze = options
    .map((option): Fields => tryKind(option, 'DefElem') ?? {})
    .filter((option) => option['defname'] === 'analyze')
    .at(-1);
  if (analyze === undefined) return false;
  const integer = tryKind(analyze['arg'], 'Integer');
  if (integer) return (integer['ival'] ?? 0) !== 0;
  const text = tryString(analyze['arg']);
  return text === undefined || !/^(?:off|false)$/i.test(text);
}
