import type { StatementSurvey, Survey } from './survey.ts';

/** Stands in for the survey of PostgreSQL's trees: it counts statements and believes the worst of each. */
export function surveyTree(tree: unknown): Survey {
  const parsed = typeof tree === 'object' && tree !== null && 'stmts' in tree ? tree.stmts : [];
  return { statements: Array.isArray(parsed) ? parsed.map(() => worst) : [] };
}

const worst: StatementSurvey = {
  commands: ['UNKNOWN'],
  relations: [],
  functions: [],
  operators: [],
  attributes: [],
  hasWhere: undefined,
  limit: undefined,
  copy: undefined,
  settings: ['*'],
  changesMeaning: true,
  changesCatalogue: true,
  moves: true,
  readOnly: false,
  isOpaque: true,
  prepares: undefined,
  executes: undefined,
  deallocates: undefined,
};
