import { ChaperoneError } from '#core/errors.ts';
import { loadKubeConfig } from './cluster/kube-config.ts';
import { readArguments, type Command } from './command.ts';

const usage = `usage: chaperone uninstall-webhooks [--name NAME]

Removes the webhook configurations of this name (default chaperone) from a cluster, so that pods can be created where the webhook is gone. The chart
runs it before it is uninstalled; run it yourself where that was not done.`;

/** `chaperone uninstall-webhooks`. */
export const uninstallWebhooks: Command = {
  name: 'uninstall-webhooks',
  summary: 'removes the webhook configurations of a cluster',
  usage,
  forChart: true,
  async run(args) {
    const { values } = readArguments({
      args: [...args],
      options: { name: { type: 'string', default: 'chaperone' } },
    });
    const { name } = values;
    const { AdmissionregistrationV1Api, ApiException } = await import('@kubernetes/client-node');
    const api = (await loadKubeConfig()).makeApiClient(AdmissionregistrationV1Api);
    const remove = async (kind: string, request: () => Promise<unknown>): Promise<void> => {
      try {
        await request();
        process.stdout.write(`${kind} ${name} was removed\n`);
      } catch (cause) {
        if (!(cause instanceof ApiException && cause.code === 404))
          throw new ChaperoneError('config-invalid', `${kind} ${name} cannot be removed`, {
            cause,
          });
        process.stdout.write(`${kind} ${name} is not there\n`);
      }
    };
    await remove('MutatingWebhookConfiguration', () =>
      api.deleteMutatingWebhookConfiguration({ name }),
    );
    await remove('ValidatingWebhookConfiguration', () =>
      api.deleteValidatingWebhookConfiguration({ name }),
    );
    return 0;
  },
};
