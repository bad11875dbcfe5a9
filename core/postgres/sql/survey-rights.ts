import type { Handlers, StatementHandler } from './survey-walker.ts';
import {
  type Fields,
  childOf,
  listOf,
  restOf,
  stringsOf,
  textOf,
  tryKind,
  tryString,
} from './tree.ts';

/** Beyond so many pairs of relations and columns in one GRANT, all columns are taken instead. */
const maxSpread = 10_000;

/** Statements about rights, roles and whole databases, and definitions that name no relation and call no function. */
export const rightsStatements: Handlers<StatementHandler> = {
  GrantStmt(fields, _, walker) {
    const { draft } = walker;
    draft.command(fields['is_grant'] === true ? 'GRANT' : 'REVOKE');
    draft.defines();
    const type = textOf(fields, 'objtype');
    draft.changesRights = type === 'OBJECT_SCHEMA';
    const isOfSchemas =
      type === 'OBJECT_SCHEMA' ||
      (fields['targtype'] === 'ACL_TARGET_ALL_IN_SCHEMA' && storesRows(type));
    const listed = grantedColumns(fields);
    const isWide = listed.length * listOf(fields, 'objects').length > maxSpread;
    const columns = isWide ? ['*'] : listed;
    for (const object of listOf(fields, 'objects')) {
      const range = tryKind(object, 'RangeVar');
      const uses = range && walker.relation(range, 'Define');
      if (uses) for (const column of columns) uses.add(column);
      else if (isOfSchemas) draft.everyRelation(tryString(object), 'Define');
    }
  },

  // The tag of PostgreSQL is the second; rules and conditions that say GRANT mean both kinds.
  GrantRoleStmt(fields, _, { draft }) {
    const verb = fields['is_grant'] === true ? 'GRANT' : 'REVOKE';
    draft.command(verb);
    draft.command(`${verb} ROLE`);
    draft.defines();
    draft.changesRights = true;
  },

  AlterDefaultPrivilegesStmt(fields, _, { draft }) {
    draft.command('ALTER DEFAULT PRIVILEGES');
    draft.defines();
    if (!storesRows(textOf(childOf(fields, 'action') ?? {}, 'objtype'))) return;
    const schemas = listOf(fields, 'options')
      .map((option): Fields => tryKind(option, 'DefElem') ?? {})
      .filter((option) => option['defname'] === 'schemas')
      .flatMap(({ arg }) => stringsOf(listOf(tryKind(arg, 'List') ?? {}, 'items')));
    for (const schema of schemas.length > 0 ? schemas : [undefined])
      draft.everyRelation(schema, 'Define');
  },

  ImportForeignSchemaStmt(fields, _, { draft }) {
    draft.command('IMPORT FOREIGN SCHEMA');
    draft.defines();
    draft.opaque();
    draft.everyRelation(textOf(fields, 'local_schema'), 'Define');
  },

  DropOwnedStmt: changingRights(everywhere('DROP OWNED', 'Define')),
  ReassignOwnedStmt: changingRights(everywhere('REASSIGN OWNED', 'Define')),
  DropdbStmt: everywhere('DROP DATABASE', 'Define'),
  // Rows of another server go into tables that the text does not name.
  CreateSubscriptionStmt: everywhere('CREATE SUBSCRIPTION', 'Write'),
  AlterSubscriptionStmt: everywhere('ALTER SUBSCRIPTION', 'Write'),

  AlterCollationStmt: definition('ALTER COLLATION'),
  AlterDatabaseStmt: definition('ALTER DATABASE'),
  AlterDatabaseRefreshCollStmt: definition('ALTER DATABASE'),
  AlterDomainStmt: definition('ALTER DOMAIN'),
  AlterEnumStmt: definition('ALTER TYPE'),
  AlterEventTrigStmt: definition('ALTER EVENT TRIGGER'),
  AlterForeignServerStmt: elsewhere('ALTER SERVER'),
  AlterRoleStmt: changingRights(definition('ALTER ROLE')),
  AlterStatsStmt: definition('ALTER STATISTICS'),
  AlterTSConfigurationStmt: definition('ALTER TEXT SEARCH CONFIGURATION'),
  AlterTSDictionaryStmt: definition('ALTER TEXT SEARCH DICTIONARY'),
  AlterTableSpaceOptionsStmt: definition('ALTER TABLESPACE'),
  AlterUserMappingStmt: elsewhere('ALTER USER MAPPING'),
  CreateDomainStmt: definition('CREATE DOMAIN'),
  CreateEnumStmt: definition('CREATE TYPE'),
  CreateForeignServerStmt: elsewhere('CREATE SERVER'),
  CreateOpFamilyStmt: definition('CREATE OPERATOR FAMILY'),
  CreateRoleStmt: definition('CREATE ROLE'),
  CreateTableSpaceStmt: definition('CREATE TABLESPACE'),
  CreateUserMappingStmt: elsewhere('CREATE USER MAPPING'),
  CreatedbStmt: definition('CREATE DATABASE'),
  DropRoleStmt: changingRights(definition('DROP ROLE')),
  DropSubscriptionStmt: definition('DROP SUBSCRIPTION'),
  DropTableSpaceStmt: definition('DROP TABLESPACE'),
  DropUserMappingStmt: definition('DROP USER MAPPING'),
};

function storesRows(type: string | undefined): boolean {
  return type === 'OBJECT_TABLE' || type === 'OBJECT_SEQUENCE';
}

/** Columns that a GRANT lists; one right without a list is about all of them, as ALL is. */
function grantedColumns(fields: Fields): readonly string[] {
  const privileges = listOf(fields, 'privileges').map((one) =>
    stringsOf(listOf(tryKind(one, 'AccessPriv') ?? {}, 'cols')),
  );
  const isWhole = privileges.length === 0 || privileges.some((columns) => columns.length === 0);
  return isWhole ? ['*'] : privileges.flat();
}

function everywhere(tag: string, access: 'Define' | 'Write'): StatementHandler {
  return (_fields, _scope, { draft }) => {
    draft.command(tag);
    draft.defines();
    draft.everyRelation(undefined, access);
  };
}

/** Where foreign tables lead to, and as whom, is said to another program: it may be this database again. */
function elsewhere(tag: string): StatementHandler {
  return (_fields, _scope, { draft }) => {
    draft.command(tag);
    draft.opaque();
  };
}

/** A statement after which a role may have others' rights, or no more. */
function changingRights(handler: StatementHandler): StatementHandler {
  return (fields, scope, walker) => {
    handler(fields, scope, walker);
    walker.draft.changesRights = true;
  };
}

/** What is walked of it are defaults and constraints of domains; elsewhere there is nothing to find. */
function definition(tag: string): StatementHandler {
  return (fields, scope, walker) => {
    walker.draft.command(tag);
    walker.draft.defines();
    walker.walk(restOf(fields), scope);
  };
}
