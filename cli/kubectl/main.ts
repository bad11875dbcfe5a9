#!/usr/bin/env node
import { runProgram } from '../program.ts';
import { clusterExplain } from './explain.ts';
import { inject } from './inject.ts';
import { clusterKill } from './kill.ts';
import { clusterSessions } from './sessions.ts';
import { clusterShow } from './show.ts';

const commands = [clusterSessions, clusterShow, clusterKill, clusterExplain, inject];

runProgram({ name: 'kubectl chaperone', commands }, process.argv.slice(2));
